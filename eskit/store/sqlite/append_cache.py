"""What the connection that writes has learned of the log, so that it need not look again."""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from eskit.store.copies import COPY_STATE, read_state
from eskit.store.sqlite.keys import kind_key
from eskit.store.sqlite.queries import query

_MOST_STREAMS = 10_000


StreamEnd: TypeAlias = tuple[int, int, int]
"""The end of a stream: its key, and version and position of its last event."""


class AppendCache:
    """The ends of the log and of its streams, and the keys of its kinds.

    Right as long as only the connection it is used with commits: `refresh` notices when another
    one did. Within a transaction it knows every stream appended to, whose events may not be
    inserted yet. Whoever rolls back, or leaves the connection for a new one, has to `forget`.
    """

    def __init__(self) -> None:
        self._data_version = 0
        self._copy: list[str] | None = None
        self._head: tuple[int, int] | None = None
        self._streams: dict[tuple[str, str], StreamEnd] = {}
        self._kinds: dict[tuple[str, str], int] = {}

    def refresh(self, cursor: sqlite3.Cursor) -> None:
        """Forget all if another connection has committed; in a transaction, before its work."""
        (data_version,) = cursor.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version:
            self.forget()
            self._data_version = data_version
        elif len(self._streams) >= _MOST_STREAMS:
            self._streams.clear()

    def forget(self) -> None:
        """Look again the next time."""
        self._copy = None
        self._head = None
        self._streams.clear()
        self._kinds.clear()

    def check_open(self, cursor: sqlite3.Cursor) -> None:
        """Raise StoreUnavailable if a copy has closed the store; only other connections do so."""
        if self._copy is None:
            self._copy = [row[2] for row in cursor.execute(query("find_record"), COPY_STATE)]
        for value in self._copy:
            raise read_state(value).refusal()

    def head(self, cursor: sqlite3.Cursor) -> tuple[int, int]:
        """Position and time of the log's last event; zeros if it has none."""
        if self._head is None:
            self._head = cursor.execute(query("find_head")).fetchone() or (0, 0)
        return self._head

    def known_stream(self, name: str, tenant: str) -> StreamEnd | None:
        """The end of a stream if it is remembered."""
        return self._streams.get((name, tenant))

    def stream(self, cursor: sqlite3.Cursor, name: str, tenant: str) -> StreamEnd | None:
        """The end of a stream that is not remembered, None if there never was one of this name."""
        row = cursor.execute(query("find_stream"), (name, tenant)).fetchone()
        if row is None:
            return None
        stream_id, version, position = row
        return stream_id, version or 0, position or 0

    def kind(self, cursor: sqlite3.Cursor, category: str, event_type: str) -> int:
        """The key of a kind, which is made if it is new."""
        key = (category, event_type)
        kind_id = self._kinds.get(key)
        if kind_id is None:
            self._kinds[key] = kind_id = kind_key(cursor, category, event_type)
        return kind_id

    def advance(self, name: str, tenant: str, end: StreamEnd, recorded_at: int) -> None:
        """Note an append: its stream now ends there, and the log with it."""
        _, _, position = end
        self._streams[name, tenant] = end
        self._head = position, recorded_at
