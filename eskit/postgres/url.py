"""What a ``postgresql://`` URL says: to libpq, and to eskit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from eskit.errors import InvalidArgument
from eskit.text.suggestions import suggestion

DEFAULT_SCHEMA = "eskit"
_MAX_NAME = 63
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


def parse_url(url: str, *, own: Sequence[str] = ()) -> PostgresUrl:
    """Take a URL apart; `own` names the options that are eskit's.

    What the URL does not say libpq takes from ``PG*`` variables, a service file and ``.pgpass``.
    Raises InvalidArgument for an option that neither knows, and for a schema that has no name.
    """
    parts = urlsplit(url)
    mine: dict[str, str] = {}
    theirs: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "schema" or name in own:
            mine[name] = value
        elif name in _LIBPQ:
            theirs.append((name, value))
        else:
            raise InvalidArgument(
                f"Unknown option {name!r} in a PostgreSQL URL",
                hint=suggestion(name, ("schema", *own, *sorted(_LIBPQ)), "options"),
            )
    schema = mine.pop("schema", DEFAULT_SCHEMA)
    if not schema or len(schema.encode()) > _MAX_NAME or "\0" in schema:
        raise InvalidArgument(
            f"schema={schema} names no schema",
            hint=f"A schema has a name of 1 to {_MAX_NAME} bytes, for example ?schema=bank",
        )
    query = urlencode(theirs)
    return PostgresUrl(
        libpq=parts._replace(query=query).geturl(),
        shown=_without_secrets(url),
        schema=schema,
        options=mine,
    )


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    shown = [
        (name, "***" if "password" in name else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    login, at, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    netloc = f"{user}{':***' if colon else ''}{at}{place}"
    return parts._replace(netloc=netloc, query=urlencode(shown, safe="*/")).geturl()
