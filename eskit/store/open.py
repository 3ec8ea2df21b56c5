"""From a URL to the store behind it. Adapters are imported here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import InvalidArgument
from eskit.files.modes import PRIVATE, parse_mode
from eskit.store.eventstore import EventStore

_SQLITE = "sqlite:///"
_SQLITE_OPTIONS = ("synchronous", "busy_timeout", "command_ttl_days", "file_mode")
_LARGEST_NUMBER = 1_000_000
_QUOTED = {ord(character): quote(character) for character in "%?#\t\n\r"}
"""What means something in a URL, or is dropped from one; the rest stays as people write it."""


def open_store(url: str, *, create: bool = True, clock: Clock = SYSTEM_CLOCK) -> EventStore:
    """Open the event store at `url`; use it as a context manager, or close it.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db``, with ``?synchronous=normal``,
    ``busy_timeout=SECONDS``, ``command_ttl_days=DAYS`` and ``file_mode=0640``, what a file is made
    with: 0600 unless you say so; ``memory://`` for a new log and
    ``memory://NAME`` for one that the process shares by name. With `create` False a missing file
    raises StoreUnavailable. Raises InvalidArgument for a URL that names no store.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _open_sqlite(url, create=create, clock=clock)
    if parts.scheme == "memory":
        return _open_memory(url, clock)
    raise InvalidArgument(
        f"{_without_secrets(url)!r} is not a store URL",
        hint=_hint_for(url),
    )


def _hint_for(url: str) -> str:
    """The URL of what looks like the path of a file, else what URLs there are."""
    if url and "://" not in url and not url.startswith(("//", "file:")):
        return f"If that is a file: {sqlite_url(Path(url))}"
    return "Use sqlite:///FILE.db or memory://"


def sqlite_path(url: str) -> Path:
    """The file that a ``sqlite://`` URL names; InvalidArgument if it names none."""
    if "#" in url:
        raise InvalidArgument(
            f"{_without_secrets(url)!r} has a # in it, where a URL ends",
            hint="If it is part of the file's name, write %23.",
        )
    path = unquote(urlsplit(url).path)[1:]
    if not url.startswith(_SQLITE) or not path or path == ":memory:" or "\0" in path:
        raise InvalidArgument(
            f"{_without_secrets(url)!r} does not name a SQLite file",
            hint="Use sqlite:///relative.db or sqlite:////absolute/path.db; memory:// for no file.",
        )
    return Path(path)


def sqlite_url(path: Path) -> str:
    """The URL that names a file: the other way round."""
    return f"{_SQLITE}{path.as_posix().translate(_QUOTED)}"


def file_mode(url: str) -> int:
    """What the files of a SQLite URL are made with; InvalidArgument for what is no mode."""
    given = dict(parse_qsl(urlsplit(url).query)).get("file_mode")
    return PRIVATE if given is None else parse_mode(given)


def with_file_mode(url: str, mode: str) -> str:
    """The same URL for files made with `mode`, unless it says already; others stay as they are."""
    if not mode or not url.startswith(_SQLITE) or "file_mode=" in url.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in url else '?'}file_mode={mode}"


def absolute_url(url: str, folder: Path) -> str:
    """The same URL with a SQLite path in it that is relative to `folder` made absolute.

    Raises InvalidArgument if it names no file.
    """
    if not url.startswith(_SQLITE) or url.startswith(f"{_SQLITE}/"):
        return url
    _, mark, options = url.partition("?")
    return f"{sqlite_url(folder / sqlite_path(url))}{mark}{options}"


def _open_sqlite(url: str, *, create: bool, clock: Clock) -> EventStore:
    from eskit.store.sqlite.store import SqliteStore

    options = _options(url)
    days = _number(options, "command_ttl_days", 7.0)
    return SqliteStore(
        sqlite_path(url),
        url,
        create=create,
        synchronous=_synchronous(options),
        busy_timeout=_number(options, "busy_timeout", 5.0),
        command_ttl=timedelta(days=days),
        clock=clock,
        file_mode=file_mode(url),
    )


def _options(url: str) -> dict[str, str]:
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    for name in options:
        if name not in _SQLITE_OPTIONS:
            nearest = get_close_matches(name, _SQLITE_OPTIONS, n=1)
            known = f"There are {', '.join(_SQLITE_OPTIONS)}."
            raise InvalidArgument(
                f"Unknown option {name!r} in a store URL",
                hint=f"Did you mean {nearest[0]}?" if nearest else known,
            )
    return options


def _synchronous(options: Mapping[str, str]) -> str:
    value = options.get("synchronous", "full").upper()
    if value not in {"FULL", "NORMAL"}:
        raise InvalidArgument(
            f"synchronous={value.lower()} is not possible", hint="Use full or normal."
        )
    return value


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _LARGEST_NUMBER:
        raise InvalidArgument(
            f"{name}={text} is not a number from 0 to {_LARGEST_NUMBER:,}",
            hint=f"For example {name}=5",
        )
    return number


def _open_memory(url: str, clock: Clock) -> EventStore:
    from eskit.store.memory.log import named_log
    from eskit.store.memory.store import MemoryStore

    name = url.removeprefix("memory://")
    return MemoryStore(url, log=named_log(name) if name else None, clock=clock)


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()
