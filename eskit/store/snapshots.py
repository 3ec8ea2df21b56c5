"""The snapshots of a store: folded states of streams, which the log can always replace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from eskit.clock import Clock
from eskit.domain.time import from_microseconds
from eskit.store.appending import MAX_POSITION
from eskit.store.port import Storage
from eskit.store.records import Snapshot
from eskit.text.unicode import check_text

_DROPPED_AT_ONCE = 256


class Snapshots:
    """The snapshots of a store, or of one tenant of it if that is bound to one."""

    def __init__(self, storage: Storage, clock: Clock, tenant: str, only: str | None) -> None:
        self._storage = storage
        self._clock = clock
        self._tenant = tenant
        self._only = only

    def save(self, snapshot: Snapshot, *, keep: int) -> bool:
        """Keep the snapshot and the newest others of its stream, `keep` in all.

        False, and nothing is changed, when the stream has no such event or was ever erased: a
        state from before an erasure must not outlive it. `created_at` is set by the store.
        """
        kept = self._storage.find(Snapshot, snapshot.stream, snapshot.tenant)
        others = (other for other in kept if other.version != snapshot.version)
        newest_first = sorted((*others, snapshot), key=_version, reverse=True)
        now = from_microseconds(self._clock.microseconds())
        return self._storage.keep([replace(snapshot, created_at=now)], newest_first[keep:])

    def find(
        self, stream: str, *, schema: str, fold_version: int, before: int | None = None
    ) -> Snapshot | None:
        """The newest snapshot of a stream that such code reads, below version `before`."""
        check_text(stream, "A stream")
        bound = MAX_POSITION if before is None else before
        fitting = (
            snapshot
            for snapshot in self._storage.find(Snapshot, stream, self._tenant)
            if (snapshot.schema, snapshot.fold_version) == (schema, fold_version)
            or not snapshot.readable  # whose it was nobody can tell: it is told of, and passed over
            if snapshot.version < bound
        )
        return max(fitting, key=_version, default=None)

    def read(self, *, prefix: str = "") -> Iterator[Snapshot]:
        """Snapshots by stream, tenant and version, of streams whose names start with `prefix`."""
        check_text(prefix, "A filter")
        return self._read(prefix)

    def _read(self, prefix: str) -> Iterator[Snapshot]:
        with self._storage.view() as view:
            for snapshot in view.rows(Snapshot):
                if snapshot.stream.startswith(prefix) and self._only in {None, snapshot.tenant}:
                    yield snapshot

    def prune(self, *, keep: int, prefix: str = "", dry_run: bool = False) -> int:
        """Delete all but the newest `keep` of each stream; how many they were, or would be."""
        pruned, surplus = 0, list[Snapshot]()
        for _, of_stream in groupby(self.read(prefix=prefix), lambda row: (row.stream, row.tenant)):
            states = (replace(snapshot, state=b"") for snapshot in of_stream)
            newest_first = sorted(states, key=_version, reverse=True)
            surplus += newest_first[keep:]
            pruned += len(newest_first[keep:])
            if len(surplus) >= _DROPPED_AT_ONCE and not dry_run:
                self._storage.keep(drop=surplus)
                surplus = []
        if surplus and not dry_run:
            self._storage.keep(drop=surplus)
        return pruned


def _version(snapshot: Snapshot) -> int:
    return snapshot.version
