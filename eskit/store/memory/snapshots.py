"""Snapshots of a log in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

from eskit.clock import Clock
from eskit.domain.time import from_microseconds
from eskit.store.appending import MAX_POSITION
from eskit.store.memory.log import MemoryLog
from eskit.store.snapshots import Snapshot
from eskit.text.unicode import check_text


class MemorySnapshots:
    """A SnapshotStore that is gone when the process ends."""

    def __init__(self, log: MemoryLog, clock: Clock, check_open: Callable[[], None]) -> None:
        self._log = log
        self._clock = clock
        self._check_open = check_open

    def save(self, snapshot: Snapshot, *, keep: int) -> bool:
        """Keep the snapshot and the newest others of its stream."""
        self._check_open()
        key = snapshot.stream, snapshot.tenant
        with self._log.lock:
            if any((erasure.stream, erasure.tenant) == key for erasure in self._log.erasures):
                return False
            place = snapshot.version, UUID(snapshot.event_id).bytes
            if not any(row[2:4] == place for row in self._log.streams.get(key, [])):
                return False
            kept = self._log.snapshots.setdefault(key, {})
            created_at = from_microseconds(self._clock.microseconds())
            kept[snapshot.version] = replace(snapshot, created_at=created_at)
            _drop_oldest(kept, keep)
            return True

    def find(
        self,
        stream: str,
        *,
        schema: str,
        fold_version: int,
        before: int | None = None,
        tenant: str = "",
    ) -> Snapshot | None:
        """The newest snapshot of a stream that such code reads."""
        self._check_open()
        check_text(stream + tenant, "A stream")
        bound = MAX_POSITION if before is None else before
        with self._log.lock:
            fitting = [
                snapshot
                for snapshot in self._log.snapshots.get((stream, tenant), {}).values()
                if (snapshot.schema, snapshot.fold_version) == (schema, fold_version)
                and snapshot.version < bound
            ]
        return max(fitting, key=lambda snapshot: snapshot.version, default=None)

    def read(self, *, prefix: str = "", tenant: str | None = None) -> Iterator[Snapshot]:
        """Snapshots by stream, tenant and version."""
        self._check_open()
        check_text(prefix + (tenant or ""), "A filter")
        with self._log.lock:
            found = [
                kept[version]
                for (stream, owner), kept in sorted(self._log.snapshots.items())
                for version in sorted(kept)
                if stream.startswith(prefix) and tenant in {None, owner}
            ]
        return iter(found)

    def prune(
        self, *, keep: int, prefix: str = "", tenant: str | None = None, dry_run: bool = False
    ) -> int:
        """Delete all but the newest `keep` of each stream."""
        self._check_open()
        check_text(prefix + (tenant or ""), "A filter")
        with self._log.lock:
            return sum(
                _drop_oldest(dict(kept) if dry_run else kept, keep)
                for (stream, owner), kept in self._log.snapshots.items()
                if stream.startswith(prefix) and tenant in {None, owner}
            )


def _drop_oldest(kept: dict[int, Snapshot], keep: int) -> int:
    surplus = sorted(kept, reverse=True)[keep:]
    for version in surplus:
        del kept[version]
    return len(surplus)
