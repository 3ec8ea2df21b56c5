"""Stores over storages that a test sets up itself, where a URL does not say enough."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.store.eventstore import EventStore
from eskit.store.memory import MemoryLog, MemoryStorage
from eskit.store.sqlite.storage import SqliteStorage


def sqlite_store(
    path: Path, url: str, *, clock: Clock = SYSTEM_CLOCK, **options: Any
) -> EventStore:
    """A store in a file, with what `SqliteStorage` takes."""
    return EventStore(SqliteStorage(path, url, clock=clock, **options), clock=clock)


def memory_store(
    url: str = "memory://",
    *,
    clock: Clock = SYSTEM_CLOCK,
    log: MemoryLog | None = None,
    command_ttl: timedelta = timedelta(days=7),
) -> EventStore:
    """A store in memory, over a log of its own or one that is given."""
    storage = MemoryStorage(url, clock=clock, log=log, command_ttl=command_ttl)
    return EventStore(storage, clock=clock)
