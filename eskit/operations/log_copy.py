"""The steps of a copy: batches of the log, what lies beside it, and comparing the two stores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from shlex import quote
from typing import Any, TypeVar

from eskit.domain.events import EventRow
from eskit.domain.time import from_microseconds
from eskit.errors import ClaimTaken, InvalidArgument, StoreDamaged, StoreError, StoreUnavailable
from eskit.schema.recorded import EventSchema
from eskit.store.copies import COPY_STATE, CopyState
from eskit.store.corruption import readable
from eskit.store.eventstore import EventStore
from eskit.store.port import View
from eskit.store.records import KEYS, Checkpoint, ClaimRow, CommandRow, Erasure, Record
from eskit.store.reports import Progress, ReportProgress

Row = TypeVar("Row", Checkpoint, ClaimRow, CommandRow, EventSchema, Record)
_BATCH = 10_000
_BATCH_BYTES = 8 * 1024 * 1024
_AT_ONCE = 1_000
_COUNTED = {EventRow: "events", ClaimRow: "claims", CommandRow: "commands", Erasure: "erasures"}


class LogCopy:
    """A copy between two open stores, of which the target is marked as such."""

    def __init__(
        self, source: EventStore, target: EventStore, state: CopyState, progress: ReportProgress
    ) -> None:
        """`state` is that of the target."""
        self.state = state
        self.progress = progress
        self.copied = 0
        """Events that were copied by this object."""
        self.compared = 0
        """Events that were found to be the same in both stores."""
        self.head = 0
        """The position up to which they were."""
        self._source = source
        self._target = target
        self._hashes = hashlib.sha256(), hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of all events that were compared."""
        return self._hashes[0].hexdigest()

    def catch_up(self) -> None:
        """Copy batches of events up to where the source ends now, and what belongs to them."""
        position, head = -1, self._source.head_position()
        while position < head:
            position = self._copy_batch()
            self.progress(Progress(name="copy", done=position, total=max(position, head)))
        with self._source.view() as view:
            self._change(put=list(view.rows(EventSchema)))
        self._make_equal(CommandRow, lambda row: row.global_position <= position)

    def compare(self) -> None:
        """Compare the two stores event by event, from where the last comparison ended."""
        end = self._target.head_position()
        while self.head < end:
            with self._source.view() as view:
                self._put([], list(view.rows(Erasure)), end)
                with self._target.view() as there:
                    self._compare_range(view, there, end)
            self.progress(Progress(name="verify", done=self.head, total=end))

    def copy_what_is_beside(self) -> None:
        """Claims, and the places of followers, of a source that does not change any more."""
        self._make_equal(ClaimRow)
        self._make_equal(Checkpoint)
        self._make_equal(Record, lambda row: (row.kind, row.key) != COPY_STATE)

    def check_counts(self) -> None:
        """Raise StoreDamaged unless both stores have as many rows of every kind."""
        with self._source.view() as view, self._target.view() as there:
            for kind, name in _COUNTED.items():
                expected, found = view.count(kind), there.count(kind)
                if expected != found:
                    raise self._differs(f"has {found:,} {name}, not {expected:,}")

    def scrub(self) -> None:
        """Leave nothing in free space of the target of what was erased since it was copied."""
        if self.state.unscrubbed:
            self._target.scrub()
            self._mark(unscrubbed=False)

    def check_turn(self) -> None:
        """Raise StoreUnavailable if the copy was finished or given up by another process."""
        found = self._target.find_copy()
        if found is None or (found.role, found.attempt) != (self.state.role, self.state.attempt):
            raise StoreUnavailable(
                f"Another process has finished or given up the copy into {self._target.url}",
                hint=f"See how it stands: eskit store info --store {quote(self.state.url)}",
            )

    def open_target(self) -> None:
        """Let the target take appends."""
        with self._target.view(exclusive=True, copying=True) as locked:
            self.check_turn()
            locked.drop([self._record()])

    def _copy_batch(self) -> int:
        """The position that the target ends at now."""
        position = self._target.head_position()
        with self._source.view() as view:
            head = view.head()
            if head < position:
                raise self._differs(f"has events behind {head:,}, where {self._source.url} ends")
            batch = list(_some(readable(view.events(after=position))))
            self._put(batch, list(view.rows(Erasure)), position)
        self.copied += len(batch)
        return batch[-1].global_position if batch else head

    def _put(self, batch: Sequence[EventRow], erasures: Sequence[Erasure], position: int) -> None:
        """Add events behind a position, and what was erased since; all in one transaction.

        An erasure is recorded together with the first events of its stream, or blanks those that
        are there: these were copied before it, so all of them belong to what it blanks.
        """
        with self._target.view() as there:
            known = set(there.rows(Erasure))
        news = [erasure for erasure in erasures if erasure not in known]
        there_already = [erasure for erasure in news if self._has(erasure)]
        arriving = {(row.stream, row.tenant) for row in batch}
        arrived = [erasure for erasure in news if (erasure.stream, erasure.tenant) in arriving]
        if not (batch or there_already):
            return
        with self._target.view(exclusive=True, copying=True) as locked:
            self.check_turn()
            if locked.head() != position:
                raise StoreUnavailable(
                    f"Another process copies into {self._target.url}",
                    hint="Let it finish, or stop it, then copy again.",
                )
            for erasure in there_already:
                locked.erase(erasure)
            if there_already:
                self._mark(unscrubbed=True, locked=locked)
            try:
                locked.put(batch)
            except (InvalidArgument, ClaimTaken) as error:
                check = f"Check it: eskit store verify --store {quote(self.state.other)}"
                raise StoreError(
                    f"{self._source.url} cannot be copied: {error.message}",
                    hint=check if isinstance(error, ClaimTaken) else error.hint,
                ) from error
            locked.put([erasure for erasure in arrived if erasure not in there_already])

    def _has(self, erasure: Erasure) -> bool:
        return self._target.for_tenant(erasure.tenant).stream_version(erasure.stream) > 0

    def _compare_range(self, view: View, there: View, end: int) -> None:
        """Compare the next events; StoreDamaged names the first that differs."""
        here, copy = self._hashes
        rows = list(_some(_up_to(view.events(after=self.head), end)))
        copies = list(islice(_up_to(there.events(after=self.head), end), len(rows)))
        for row in rows:
            _add(here, row)
        for row in copies:
            _add(copy, row)
        if here.digest() != copy.digest():
            pairs = zip(rows, [*copies, *[None] * len(rows)], strict=False)
            position = next((row.global_position for row, other in pairs if row != other), 0)
            raise self._differs(f"has another event at {position:,}")
        if not rows:
            raise self._differs(f"has events behind {self.head:,} that are not in the source")
        self.compared += len(rows)
        self.head = rows[-1].global_position

    def _make_equal(self, kind: type[Row], wanted: Callable[[Row], bool] = lambda _: True) -> None:
        """Give the target the rows of a kind that the source has, and no others."""
        with self._source.view() as view, self._target.view() as there:
            changes = _differences(
                filter(wanted, view.rows(kind)), filter(wanted, there.rows(kind)), KEYS[kind]
            )
            while some := list(islice(changes, _AT_ONCE)):
                self._change(
                    put=[row for row, is_there in some if is_there],
                    drop=[row for row, is_there in some if not is_there],
                )

    def _change(self, *, put: Sequence[Any], drop: Sequence[Any] = ()) -> None:
        if put or drop:
            with self._target.view(exclusive=True, copying=True) as locked:
                self.check_turn()
                locked.drop(drop)
                locked.put(put)

    def _mark(self, *, unscrubbed: bool, locked: View | None = None) -> None:
        self.state = replace(self.state, unscrubbed=unscrubbed)
        if locked is None:
            self._change(put=[self._record()])
        else:
            locked.put([self._record()])

    def _record(self) -> Record:
        return self.state.record(from_microseconds(self._target.clock.microseconds()))

    def _differs(self, what: str) -> StoreDamaged:
        return StoreDamaged(
            f"{self._target.url} {what}", hint="Remove it, and copy into a new store."
        )


def _some(rows: Iterable[EventRow]) -> Iterator[EventRow]:
    """As many as one transaction takes, and as many bytes."""
    size = 0
    for row in islice(rows, _BATCH):
        yield row
        size += len(row.data)
        if size > _BATCH_BYTES:
            return


def _up_to(rows: Iterable[EventRow], end: int) -> Iterator[EventRow]:
    for row in rows:
        if row.global_position > end:
            return
        yield row


def _add(total: Any, row: EventRow) -> None:
    """Every part of an event, each with a mark behind it or of a known length."""
    claims = "" if row.claims is None else f"\1{row.claims}"
    parts = (
        f"{row.global_position}\0{row.stream}\0{row.version}\0{row.event_type}\0{row.recorded_at}\0"
        f"{row.tenant}\0{len(row.metadata)}\0{row.metadata}{len(claims)}\0{claims}{len(row.data)}\0"
    )
    total.update(parts.encode())
    total.update(row.event_id)
    total.update(row.data)


def _differences(
    wanted: Iterator[Row], found: Iterator[Row], key: Callable[[Row], Any]
) -> Iterator[tuple[Row, bool]]:
    """What to put, and False for what to drop, so that rows found are those wanted.

    Both are sorted by their keys.
    """
    want, have = next(wanted, None), next(found, None)
    while want is not None or have is not None:
        if have is None or (want is not None and key(want) < key(have)):
            assert want is not None  # noqa: S101 - one of the two is there
            yield want, True
            want = next(wanted, None)
        elif want is None or key(have) < key(want):
            yield have, False
            have = next(found, None)
        else:
            if want != have:
                yield want, True
            want, have = next(wanted, None), next(found, None)
