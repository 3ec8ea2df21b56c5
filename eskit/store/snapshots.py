"""Snapshots as a store keeps them: folded states of streams, which the log can always replace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a stream after the event that has `version` and `event_id`.

    `schema` identifies the shape of the state and `fold_version` the rules that folded it: only
    code with the same of both reads the snapshot. `checksum` is that of `state`. One that is not
    `readable` is a damaged row: stream, tenant and version are all that it tells.
    """

    stream: str
    tenant: str
    version: int
    event_id: str
    schema: str
    fold_version: int
    created_at: datetime
    checksum: str
    state: bytes
    readable: bool = True


class SnapshotStore(Protocol):
    """Where snapshots are kept, beside the log."""

    def save(self, snapshot: Snapshot, *, keep: int) -> bool:
        """Keep the snapshot and the newest others of its stream, `keep` in all.

        False, and nothing is changed, when the stream has no such event or was ever erased: a
        state from before an erasure must not outlive it. `created_at` is set by the store.
        """
        ...

    def find(
        self,
        stream: str,
        *,
        schema: str,
        fold_version: int,
        before: int | None = None,
        tenant: str = "",
    ) -> Snapshot | None:
        """The newest snapshot of a stream that such code reads, below version `before`."""
        ...

    def read(self, *, prefix: str = "", tenant: str | None = None) -> Iterator[Snapshot]:
        """Snapshots by stream, tenant and version, of streams whose names start with `prefix`."""
        ...

    def prune(
        self, *, keep: int, prefix: str = "", tenant: str | None = None, dry_run: bool = False
    ) -> int:
        """Delete all but the newest `keep` of each stream; how many they were, or would be."""
        ...
