"""Snapshots in the file of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from uuid import UUID

from eskit.clock import Clock
from eskit.domain.time import EPOCH, from_microseconds
from eskit.store.appending import MAX_POSITION
from eskit.store.snapshots import Snapshot
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.transaction import Transaction
from eskit.store.sqlite.write import Work
from eskit.text.unicode import check_text

ReadRows: TypeAlias = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]
"""Runs a named query on a connection that reads."""
Write: TypeAlias = Callable[[Work, Any], Any]
"""The result of work for a request, in a transaction on the connection that writes."""

_PAGE = 64


class SqliteSnapshots:
    """A SnapshotStore that writes and reads as the store it belongs to does."""

    def __init__(self, write: Write, read_rows: ReadRows, clock: Clock) -> None:
        self._write = write
        self._read_rows = read_rows
        self._clock = clock

    def save(self, snapshot: Snapshot, *, keep: int) -> bool:
        """Keep the snapshot and the newest others of its stream."""
        stream = snapshot.stream, snapshot.tenant
        row = (
            *stream,
            snapshot.version,
            UUID(snapshot.event_id).bytes,
            snapshot.schema,
            snapshot.fold_version,
            self._clock.microseconds(),
            snapshot.checksum,
            snapshot.state,
        )

        saved: bool = self._write(_save, (row, (*stream, keep)))
        return saved

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
        check_text(stream + tenant, "A stream")
        bound = MAX_POSITION if before is None else before
        rows = self._read_rows("find_snapshot", (stream, tenant, bound, schema, fold_version))
        return _snapshot(*rows[0]) if rows else None

    def read(self, *, prefix: str = "", tenant: str | None = None) -> Iterator[Snapshot]:
        """Snapshots by stream, tenant and version."""
        check_text(prefix + (tenant or ""), "A filter")
        return self._pages(prefix, tenant)

    def _pages(self, prefix: str, tenant: str | None) -> Iterator[Snapshot]:
        last: tuple[object, ...] = ("", "", 0)
        while page := self._read_rows("list_snapshots", (*last, prefix, tenant, _PAGE)):
            yield from (_snapshot(*row) for row in page)
            last = page[-1][:3]

    def prune(
        self, *, keep: int, prefix: str = "", tenant: str | None = None, dry_run: bool = False
    ) -> int:
        """Delete all but the newest `keep` of each stream."""
        check_text(prefix + (tenant or ""), "A filter")
        if dry_run:
            ((surplus,),) = self._read_rows("count_surplus_snapshots", (keep, prefix, tenant))
            return int(surplus)
        deleted: int = self._write(_prune, (keep, prefix, tenant))
        return deleted


def _save(transaction: Transaction, rows: tuple[tuple[object, ...], tuple[object, ...]]) -> bool:
    snapshot, what_to_keep = rows
    cursor = transaction.cursor
    saved = cursor.execute(query("save_snapshot"), snapshot).rowcount > 0
    if saved:
        cursor.execute(query("prune_stream_snapshots"), what_to_keep)
    return saved


def _prune(transaction: Transaction, what_to_keep: tuple[int, str, str | None]) -> int:
    return transaction.cursor.execute(query("prune_snapshots"), what_to_keep).rowcount


def _snapshot(
    stream: str,
    tenant: str,
    version: int,
    event_id: bytes,
    schema: bytes,
    fold_version: int,
    created_at: int,
    checksum: bytes,
    state: bytes,
    readable: int,
) -> Snapshot:
    if not readable:
        return _unreadable(stream, tenant, version)
    return Snapshot(
        stream=stream,
        tenant=tenant,
        version=version,
        event_id=str(UUID(bytes=event_id)),
        schema=schema.decode(errors="replace"),
        fold_version=fold_version,
        created_at=from_microseconds(created_at),
        checksum=checksum.decode(errors="replace"),
        state=state,
    )


def _unreadable(stream: str, tenant: str, version: object) -> Snapshot:
    return Snapshot(
        stream=stream,
        tenant=tenant,
        version=version if isinstance(version, int) else 0,
        event_id="",
        schema="",
        fold_version=0,
        created_at=EPOCH,
        checksum="",
        state=b"",
        readable=False,
    )
