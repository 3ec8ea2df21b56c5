"""A storage as small as one can be: a list of rows, kept in one JSON file, searched from its start.

It shows what somebody has to write for another database, and that the contract asks for no more.
"""

import base64
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from eskit.clock import Clock
from eskit.domain.commands import AppendResult
from eskit.domain.events import EventRow, is_erased
from eskit.errors import StoreUnavailable, StreamNotFound, Unsupported
from eskit.processes.holding import LocalLock
from eskit.schema.recorded import EventSchema
from eskit.store.appending import Append, completed, decide
from eskit.store.notifying import AppendNotifier
from eskit.store.port import About, Check, Problem, Select, StreamKey
from eskit.store.recording import is_news
from eskit.store.records import KEYS, ClaimRow, CommandRow, Erasure, EventType, Snapshot, StreamInfo
from eskit.store.rows import add, check, keep, stream_info, wants

_KINDS = {kind.__name__: kind for kind in (EventRow, *KEYS)}


class JsonStorage:
    """A Storage in one file, for one process."""

    def __init__(self, path: Path, clock: Clock, command_ttl: timedelta) -> None:
        self._path, self.microseconds, self._ttl = path, clock.microseconds, command_ttl
        self._lock, self.lock = threading.RLock(), partial(LocalLock, {})
        self._notifier, self._closed = AppendNotifier(clock), False
        if not path.exists():
            path.write_text(json.dumps({"store_id": str(uuid4()), "rows": []}))
        stored = json.loads(path.read_text(), object_hook=_value)
        self._id = stored["store_id"]
        self._rows = Rows(_KINDS[kind](**fields) for kind, fields in stored["rows"])

    def about(self) -> About:
        return About(url=f"json://{self._path}", store_id=self._id, command_ttl=self._ttl)

    def append(self, append: Append) -> AppendResult:
        with self._changing() as rows:
            changes = decide(append, rows, self.microseconds())
            for row in (*changes.events, *changes.claims, *changes.commands, *changes.schemas):
                rows.put(row)
            for row in changes.freed:
                rows.drop(row)
        return changes.result

    def submit(self, append: Append) -> Future[AppendResult]:
        with self._open():
            return completed(self.append, append)

    def read(self, select: Select[Any], size: int) -> list[Any]:
        with self._open() as rows:
            found = rows.of(select.stream, select.tenant) if select.stream else rows.events
            events = found[::-1] if select.backward else found
            return [select.shape.of(row) for row in events if wants(select, row)][:size]

    def count(self, select: Select[Any]) -> int:
        return len(self.read(select._replace(shape=EventRow), select.before))

    def streams(
        self, after: StreamKey, *, prefix: str, tenant: str | None, size: int
    ) -> list[StreamInfo]:
        found = [info for info in self.find(StreamInfo) if info.stream.startswith(prefix)]
        wanted = (info for info in found if tenant in {None, info.tenant})
        return [info for info in wanted if (info.stream, info.tenant) > after][:size]

    def find(self, kind: type[Any], *key: str) -> list[Any]:
        with self._open() as rows:
            return rows.find(kind, *key)

    def keep(self, put: Any = (), drop: Any = (), *, under: Any = None) -> bool:
        with self._changing() as rows:
            return keep(rows, put, drop)

    def head(self, past: int = -1, timeout: float = 0.0) -> int:
        if timeout:
            self._notifier.wait_until(lambda: self.head() > past, timeout)
        with self._open() as rows:
            return rows.head()

    @contextmanager
    def view(self, *, exclusive: bool = False) -> Iterator["JsonView"]:
        if not exclusive:
            with self._open() as rows:
                copy = Rows(rows)
            yield JsonView(copy)
        else:
            with self._changing() as rows:
                yield JsonView(rows)

    def scrub(self) -> None:
        """Every change writes the file anew."""

    def close(self) -> None:
        self._closed = True
        self._notifier.notify()

    @contextmanager
    def _open(self) -> Iterator["Rows"]:
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"{self._path} is closed")
            yield self._rows

    @contextmanager
    def _changing(self) -> Iterator["Rows"]:
        with self._open() as rows:
            changed = Rows(rows)
            yield changed
            encoded = {"store_id": self._id, "rows": [_encode(row) for row in changed]}
            self._path.write_text(json.dumps(encoded, default=_plain))
            self._rows = changed
        self._notifier.notify()


class Rows(list[Any]):
    """Rows of every kind, those of events in the order of the log."""

    @property
    def events(self) -> list[EventRow]:
        return [row for row in self if isinstance(row, EventRow)]

    def find(self, kind: type[Any], *key: str) -> list[Any]:
        rows = [row for row in self if type(row) is kind]
        if kind is EventType:
            rows = [EventType(name) for name in {row.event_type for row in self.events}]
        if kind is StreamInfo:
            rows = [
                stream_info(self.of(*one)) for one in {(r.stream, r.tenant) for r in self.events}
            ]
        rows = [row for row in rows if KEYS[kind](row)[: len(key)] == key]
        return sorted(rows, key=KEYS[kind])

    def of(self, stream: str, tenant: str) -> list[EventRow]:
        return [row for row in self.events if (row.stream, row.tenant) == (stream, tenant)]

    def put(self, row: Any) -> None:
        if isinstance(row, EventSchema) and not is_news(row, self.find(EventSchema)):
            return
        self.drop(row)
        self.append(row)

    def drop(self, row: Any) -> None:
        if not isinstance(row, EventRow):
            key = KEYS[type(row)]
            self[:] = [r for r in self if type(r) is not type(row) or key(r) != key(row)]

    def head(self) -> int:
        return max((row.global_position for row in self.events), default=0)

    def find_command(self, tenant: str, command_id: str) -> CommandRow | None:
        return next(iter(self.find(CommandRow, tenant, command_id)), None)

    def find_by_id(self, event_id: bytes) -> EventRow | None:
        return next((row for row in self.events if row.event_id == event_id), None)

    def find_owner(self, tenant: str, index: str, value: str) -> str | None:
        return next((row.stream for row in self.find(ClaimRow, tenant, index, value)), None)

    def last_of(self, stream: str, tenant: str) -> EventRow | None:
        return next(iter(self.of(stream, tenant)[::-1]), None)

    def last(self) -> EventRow | None:
        return next(iter(self.events[::-1]), None)


class JsonView:
    """A View of rows that nobody else changes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def head(self) -> int:
        return self._rows.head()

    def count(self, kind: type[Any]) -> int:
        return len(self._rows.events if kind is EventRow else self._rows.find(kind))

    def events(self, *, after: int = 0, streams: Sequence[StreamKey] = ()) -> Iterator[EventRow]:
        rows = (row for row in self._rows.events if row.global_position > after)
        return (row for row in rows if not streams or (row.stream, row.tenant) in streams)

    def rows(self, kind: type[Any], *, streams: Sequence[StreamKey] = ()) -> Iterator[Any]:
        rows = self._rows.find(kind)
        return (row for row in rows if not streams or (row.stream, row.tenant) in streams)

    def check(self, what: Check) -> Iterator[Problem]:
        return check(what, self._rows.events, self._rows)

    def backup(self, target: Path, *, progress: Any) -> Any:
        raise Unsupported(f"{target} cannot be made: copy the JSON file")

    def put(self, rows: Iterable[Any]) -> None:
        add(self._rows, rows)

    def drop(self, rows: Iterable[ClaimRow | CommandRow]) -> None:
        for row in rows:
            self._rows.drop(row)

    def erase(self, erasure: Erasure) -> Erasure:
        key = erasure.stream, erasure.tenant
        stored = self._rows.of(*key)
        if not stored:
            raise StreamNotFound(erasure.stream)
        count = sum(not is_erased(row.metadata) for row in stored)
        gone = ClaimRow, Snapshot
        left = [r for r in self._rows if type(r) not in gone or (r.stream, r.tenant) != key]
        self._rows[:] = [_erased(row, key) for row in left]
        done = erasure.of(version=stored[-1].version, events=count)
        if done.events:
            self._rows.put(done)
        return done

    def adopt(self, store_id: str) -> None:
        raise Unsupported(f"A JSON file keeps the id that it was made with, not {store_id}")


def _erased(row: Any, key: StreamKey) -> Any:
    if not isinstance(row, EventRow | CommandRow) or (row.stream, row.tenant) != key:
        return row
    return row.erased() if isinstance(row, EventRow) else row._replace(response=b"")


def _encode(row: Any) -> list[Any]:
    return [type(row).__name__, asdict(row) if is_dataclass(row) else row._asdict()]


def _plain(value: bytes | datetime) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    return {"bytes": base64.b64encode(value).decode()}


def _value(found: dict[str, Any]) -> Any:
    if "time" in found:
        return datetime.fromisoformat(found["time"])
    return base64.b64decode(found["bytes"]) if "bytes" in found else found
