"""From a URL to the store behind it. Adapters are imported here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import InvalidArgument
from eskit.sqlite.url import sqlite_url, without_secrets
from eskit.store.eventstore import EventStore
from eskit.store.location import Location


def open_store(url: str, *, create: bool = True, clock: Clock = SYSTEM_CLOCK) -> EventStore:
    """Open the event store at `url`; use it as a context manager, or close it.

    ``sqlite:///relative.db``, ``sqlite:////absolute.db``, with ``?synchronous=normal``,
    ``busy_timeout=SECONDS``, ``command_ttl_days=DAYS`` and ``file_mode=0640``, what a file is made
    with: 0600 unless you say so. ``postgresql://USER@HOST/DATABASE?schema=NAME``, by default in the
    schema ``eskit``, with ``command_ttl_days``. ``memory://`` for a new log and ``memory://NAME``
    for one that the process shares by name. With `create` False a store that is not there raises
    StoreUnavailable. Raises InvalidArgument for a URL that names no store.

    >>> from google.protobuf.wrappers_pb2 import StringValue
    >>> from eskit import NO_STREAM, NewEvent, open_store
    >>> with open_store("memory://") as store:
    ...     hello = NewEvent(StringValue(value="hello"))
    ...     _ = store.append("Note-1", [hello], expected_version=NO_STREAM)
    ...     [event.message.value for event in store.read_stream("Note-1")]
    ['hello']
    """
    return EventStore(locate(url).open(create=create, clock=clock), clock=clock)


def locate(url: str) -> Location:
    """Where the store at `url` lies; nothing is opened. InvalidArgument if it names no store."""
    location = find_location(url)
    if location is None:
        raise InvalidArgument(f"{without_secrets(url)!r} is not a store URL", hint=_hint_for(url))
    return location


def find_location(url: str) -> Location | None:
    """The same, None for a URL of something else; InvalidArgument for one that is wrong."""
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        from eskit.store.sqlite.location import SqliteLocation

        return SqliteLocation(url)
    if scheme in {"postgresql", "postgres"}:
        from eskit.store.postgres.location import PostgresLocation

        return PostgresLocation(url)
    if scheme == "memory":
        from eskit.store.memory import MemoryLocation

        return MemoryLocation(url)
    return None


def _hint_for(url: str) -> str:
    """The URL of what looks like the path of a file, else what URLs there are."""
    if url and "://" not in url and not url.startswith(("//", "file:")):
        return f"If that is a file: {sqlite_url(Path(url))}"
    return "Use sqlite:///FILE.db, postgresql://HOST/DATABASE or memory://"
