"""What a memory store holds, apart from the store, so that several can share it by name."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from eskit.domain.events import EventRow
from eskit.schema.recorded import EventSchema
from eskit.store.maintenance import Erasure
from eskit.store.recording import is_news
from eskit.store.records import Checkpoint, CommandRecord, Record
from eskit.store.signal import Signal
from eskit.store.snapshots import Snapshot

StreamKey = tuple[str, str]
"""Stream name and tenant."""


@dataclass(slots=True)
class MemoryLog:
    """Everything in a memory store; `lock` guards all of it."""

    store_id: str = field(default_factory=lambda: str(uuid4()))
    lock: threading.Lock = field(default_factory=threading.Lock)
    signal: Signal = field(default_factory=Signal)
    rows: list[EventRow] = field(default_factory=list)
    streams: dict[StreamKey, list[EventRow]] = field(default_factory=dict)
    claims: dict[tuple[str, str, str], str] = field(default_factory=dict)
    ids: dict[bytes, int] = field(default_factory=dict)
    """The positions of events by their ids."""
    commands: dict[tuple[str, str], tuple[int, CommandRecord]] = field(default_factory=dict)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    """By kind and key."""
    erasures: list[Erasure] = field(default_factory=list)
    snapshots: dict[StreamKey, dict[int, Snapshot]] = field(default_factory=dict)
    """By stream, and then by version."""
    schemas: list[EventSchema] = field(default_factory=list)
    """The schemas of the events, in the order of the log."""

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        return self.rows[-1][0] if self.rows else 0

    def add(self, row: EventRow) -> None:
        """Put an event at the end."""
        self.rows.append(row)
        self.ids[row.event_id] = row.global_position
        self.streams.setdefault((row[1], row[6]), []).append(row)

    def find_by_id(self, event_id: bytes) -> EventRow | None:
        """The event that has an id."""
        position = self.ids.get(event_id)
        if position is None:
            return None
        return self.rows[bisect_left(self.rows, position, key=position_of)]

    def add_schemas(self, schemas: Sequence[EventSchema]) -> None:
        """Keep each schema that differs from what its type had before that position."""
        for schema in schemas:
            if is_news(schema, self.schemas):
                self.schemas.append(schema)
                self.schemas.sort(key=lambda known: (known.first_position, known.event_type))

    def copy(self) -> MemoryLog:
        """The same contents in containers of their own."""
        return MemoryLog(
            store_id=self.store_id,
            rows=list(self.rows),
            streams={key: list(rows) for key, rows in self.streams.items()},
            ids=dict(self.ids),
            claims=dict(self.claims),
            commands=dict(self.commands),
            checkpoints=dict(self.checkpoints),
            records=dict(self.records),
            erasures=list(self.erasures),
            schemas=list(self.schemas),
        )

    def restore(self, copy: MemoryLog) -> None:
        """Go back to a copy, in the containers that readers hold."""
        self.rows[:] = copy.rows
        self.streams = copy.streams
        self.claims, self.commands, self.ids = copy.claims, copy.commands, copy.ids
        self.erasures = copy.erasures
        self.schemas = copy.schemas


def position_of(row: EventRow) -> int:
    """The key that a log is sorted by."""
    return row[0]


_named_logs: dict[str, MemoryLog] = {}
_named_logs_lock = threading.Lock()


def named_log(name: str) -> MemoryLog:
    """The one log of that name in this process; it lives as long as the process."""
    with _named_logs_lock:
        return _named_logs.setdefault(name, MemoryLog())
