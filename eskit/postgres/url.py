"""What a ``postgresql://`` URL says: to libpq, and to eskit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from eskit.errors import InvalidArgument
from eskit.text.suggestions import suggestion

DEFAULT_SCHEMA = "eskit"
_MAX_NAME = 63
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_PORT = re.compile(r":(?!\d*$)[^:\]]*$")
_UNREADABLE = "A URL of PostgreSQL cannot be read: a bracket, a port or an escape in it is wrong"
_EXAMPLE = "For example postgresql://ann@db.example.com:5432/bank; in a password write % as %25."
_LIBPQ = frozenset(
    {
        *("application_name", "channel_binding", "connect_timeout", "gssencmode", "host"),
        *("hostaddr", "krbsrvname", "load_balance_hosts", "options", "passfile", "password"),
        *("port", "require_auth", "service", "sslcert", "sslcompression", "sslcrl", "sslkey"),
        *("sslmode", "sslpassword", "sslrootcert", "target_session_attrs", "user"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """A server, its database and the schema in it; `options` are eskit's own, by name.

    `libpq` goes to the driver and holds the password; `shown` is fit to be shown.
    """

    libpq: str
    shown: str
    schema: str
    options: Mapping[str, str]


def is_postgres(url: str) -> bool:
    """Whether the URL is one of PostgreSQL's, right or wrong."""
    return url.startswith(("postgresql:", "postgres:"))


def parse_url(url: str, *, own: Sequence[str] = (), schema: str = DEFAULT_SCHEMA) -> PostgresUrl:
    """Take a URL apart; `own` names the options that are eskit's, `schema` is that by default.

    What the URL does not say libpq takes from ``PG*`` variables, a service file and ``.pgpass``.
    Raises InvalidArgument for an option that neither knows, and for a schema that has no name.
    """
    parts = _split(url)
    mine: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in _pairs(parts):
        if name == "schema" or name in own:
            mine[name] = value
        elif name in _LIBPQ:
            theirs.append((name, value))
        else:
            raise InvalidArgument(
                f"Unknown option {name!r} in a PostgreSQL URL",
                hint=suggestion(name, ("schema", *own, *sorted(_LIBPQ)), "options"),
            )
    schema = mine.pop("schema", schema)
    if not schema or len(schema.encode()) > _MAX_NAME or "\0" in schema:
        raise InvalidArgument(
            f"schema={schema} names no schema",
            hint=f"A schema has a name of 1 to {_MAX_NAME} bytes, for example ?schema=bank",
        )
    return PostgresUrl(
        libpq=_joined(parts, parts.netloc, urlencode(theirs, quote_via=quote)),
        shown=_shown(parts),
        schema=schema,
        options=mine,
    )


def with_schema(url: str, schema: str, *, without: Sequence[str] = ()) -> str:
    """The URL of another schema of the same database, without some options."""
    parts = _split(url)
    kept = [(name, value) for name, value in _pairs(parts) if name not in {"schema", *without}]
    return _joined(parts, parts.netloc, urlencode([*kept, ("schema", schema)], quote_via=quote))


def _split(url: str) -> SplitResult:
    """The parts of a URL; what is wrong with one is said without it, for it has a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidArgument(_UNREADABLE, hint=_EXAMPLE) from None
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if _BAD_ESCAPE.search(url) or any(_BAD_PORT.search(host) for host in hosts):
        raise InvalidArgument(_UNREADABLE, hint=_EXAMPLE)
    return parts


def _pairs(parts: SplitResult) -> list[tuple[str, str]]:
    """The options. A plus is a plus for libpq, and no blank."""
    return parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True)


def _shown(parts: SplitResult) -> str:
    shown = [(name, "***" if "password" in name else value) for name, value in _pairs(parts)]
    login, at, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    netloc = f"{user}{':***' if colon else ''}{at}{place}"
    return _joined(parts, netloc, urlencode(shown, safe="*/", quote_via=quote))


def _joined(parts: SplitResult, netloc: str, query: str) -> str:
    """A URL; that of a server that something else names keeps its two slashes."""
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"
