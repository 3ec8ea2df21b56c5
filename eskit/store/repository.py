"""Aggregates from their events and back."""

from __future__ import annotations

from datetime import datetime
from itertools import takewhile
from typing import Generic, TypeVar

from eskit.domain.aggregate import (
    AnyAggregate,
    clear_pending,
    fold,
    pending_events,
    restore,
    restored_version,
    stream_of,
)
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import FoldRow
from eskit.domain.messages import encode
from eskit.domain.streams import ExpectedVersion, stream_name
from eskit.domain.time import to_microseconds
from eskit.domain.upcasting import Upcasters
from eskit.errors import InvalidArgument, StreamNotFound
from eskit.store.eventstore import EventStore
from eskit.store.snapshotting import Snapshotter, confirms
from eskit.store.state_cache import LONG, KeptState, StateCache

AnAggregate = TypeVar("AnAggregate", bound=AnyAggregate)


class Repository(Generic[AnAggregate]):
    """Loads and saves the aggregates of one class, those of the store's tenant.

    With `snapshots` it loads from the newest one that fits and takes new ones after saving; with
    `cache` it loads from the state that it folded last.
    """

    def __init__(
        self,
        store: EventStore,
        aggregate_class: type[AnAggregate],
        upcasters: Upcasters | None = None,
        *,
        snapshots: Snapshotter | None = None,
        cache: StateCache | None = None,
    ) -> None:
        self._store = store
        self._class = aggregate_class
        self._upcasters = upcasters
        self._snapshots = snapshots
        self._cache = cache

    def for_tenant(self, tenant: str) -> Repository[AnAggregate]:
        """The same for the aggregates of one tenant."""
        store = self._store.for_tenant(tenant)
        return Repository(
            store, self._class, self._upcasters, snapshots=self._snapshots, cache=self._cache
        )

    def load(
        self,
        aggregate_id: str,
        *,
        at_version: int | None = None,
        at: datetime | None = None,
    ) -> AnAggregate:
        """The aggregate as it is, as it was at a version, or as it was at an aware time.

        Raises StreamNotFound when it has no event, or had none at that time, and
        InvalidArgument for a version that the stream never reached.
        """
        stream = self._stream(aggregate_id)
        if at_version is None and at is None:
            return self._load_now(aggregate_id, stream)
        if at_version is not None:
            _check_version(at_version)
        aggregate = self._start(aggregate_id, at_version, at)
        before = None if at_version is None else at_version + 1
        rows = self._store.read_rows(stream, after=aggregate.version, before=before)
        if at is not None:
            latest = microseconds(at)
            rows = takewhile(lambda row: row.recorded_at <= latest, rows)
        fold(aggregate, rows, self._upcasters, tenant=self._store.tenant)
        if aggregate.version == 0:
            raise self._not_found(stream, at)
        if at_version is not None and at is None and aggregate.version < at_version:
            raise InvalidArgument(
                f"{stream} is at version {aggregate.version} and was never at {at_version}",
                hint=f"Choose a version from 1 to {aggregate.version}.",
            )
        return aggregate

    def _load_now(self, aggregate_id: str, stream: str) -> AnAggregate:
        """The aggregate as it is, from the state that was folded last if the log still leads to it.

        Only a state that was folded from the log is kept: a command may change the one it has.
        """
        found = self._load_cached(aggregate_id, stream)
        if found is not None:
            return found
        aggregate = self._start(aggregate_id, None, None)
        rows = self._store.read_rows(stream, after=aggregate.version)
        last = fold(aggregate, rows, self._upcasters, tenant=self._store.tenant)
        if aggregate.version == 0:
            raise self._not_found(stream, None)
        self._keep(aggregate, last)
        return aggregate

    def _load_cached(self, aggregate_id: str, stream: str) -> AnAggregate | None:
        key = self._class, self._store.tenant, stream
        if self._cache is None or (kept := self._cache.find(key)) is None:
            return None
        version = kept.last.version
        rows = self._store.read_rows(stream, after=version - 1)
        if next(rows, None) != kept.last:  # it was erased, or the stream has another history
            self._cache.forget(key)
            return None
        aggregate = self._class(aggregate_id)
        state = self._class.__aggregate__.state.FromString(kept.state)
        restore(aggregate, state, version, snapshot_version=kept.snapshot_version)
        self._keep(aggregate, fold(aggregate, rows, self._upcasters, tenant=self._store.tenant))
        return aggregate

    def _keep(self, aggregate: AnAggregate, last: FoldRow | None) -> None:
        """Keep the state, if something new was folded, enough in all, and nothing erased."""
        if self._cache is None or last is None or last.version < LONG:
            return
        key = self._class, self._store.tenant, stream_of(aggregate)
        try:
            state = encode(aggregate.state)
        except InvalidArgument:  # a message that cannot be read again
            self._cache.forget(key)
        else:
            self._cache.keep(key, KeptState(state, last, restored_version(aggregate)))

    def find(
        self,
        aggregate_id: str,
        *,
        at_version: int | None = None,
        at: datetime | None = None,
    ) -> AnAggregate | None:
        """The same as `load`, or None when there is no event."""
        try:
            return self.load(aggregate_id, at_version=at_version, at=at)
        except StreamNotFound:
            return None

    def save(
        self,
        aggregate: AnAggregate,
        *,
        command: Command | None = None,
        expected_version: int | ExpectedVersion | None = None,
    ) -> AppendResult:
        """Append what the aggregate has emitted; by default at the version it was loaded at.

        Afterwards it can be used on. When the command was processed before, the aggregate is
        brought to what is stored. When the append fails it is left as it was: load it again
        after VersionConflict.
        """
        events = pending_events(aggregate)
        loaded = aggregate.version - len(events)
        result = self._store.append(
            stream_of(aggregate),
            events,
            expected_version=loaded if expected_version is None else expected_version,
            command=command,
        )
        self.appended(aggregate, result)
        clear_pending(aggregate)
        if result.already_processed or result.version != aggregate.version:
            self._refresh(aggregate)
        return result

    def appended(self, aggregate: AnAggregate, result: AppendResult) -> None:
        """Take a snapshot if it is time; for those who append a loaded aggregate's events."""
        if self._snapshots is None or result.already_processed:
            return
        if result.version == aggregate.version:
            self._snapshots.appended(
                aggregate, tenant=self._store.tenant, upcasters=self._upcasters
            )

    def _start(self, aggregate_id: str, at_version: int | None, at: datetime | None) -> AnAggregate:
        """A fresh aggregate, at a snapshot if there is one to go on from.

        For a past time none is used: which snapshot is old enough only its event could tell.
        """
        aggregate = self._class(aggregate_id)
        if self._snapshots is None or at is not None:
            return aggregate
        before = None if at_version is None else at_version + 1
        snapshot = self._snapshots.start_from(aggregate, tenant=self._store.tenant, before=before)
        if snapshot is None or confirms(self._store, snapshot):
            return aggregate
        return self._class(aggregate_id)

    def _refresh(self, aggregate: AnAggregate) -> None:
        stored = self.find(aggregate.id) or self._class(aggregate.id)
        restore(aggregate, stored.state, stored.version)

    def _stream(self, aggregate_id: str) -> str:
        return stream_name(self._class.__aggregate__.name, aggregate_id)

    def _not_found(self, stream: str, at: datetime | None) -> StreamNotFound:
        if at is None:
            return StreamNotFound(stream)
        for first in self._store.read_stream(stream, limit=1):
            return StreamNotFound(
                stream, hint=f"Its first event was recorded at {first.recorded_at.isoformat()}."
            )
        return StreamNotFound(stream)


def microseconds(at: datetime) -> int:
    """An aware time as the whole microseconds since 1970 UTC that events are stored with."""
    if at.tzinfo is None:
        raise InvalidArgument(
            f"{at.isoformat()} has no time zone", hint="Add one, for example +00:00."
        )
    return to_microseconds(at)


def _check_version(at_version: int) -> int:
    if at_version < 1:
        raise InvalidArgument(
            f"There is no version {at_version}", hint="The first event has version 1."
        )
    return at_version
