"""Taking snapshots of aggregates, using them to load, and checking them against the log."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Literal, NamedTuple, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from google.protobuf.message import DecodeError, Message

from eskit.clock import SYSTEM_CLOCK, Clock, Thread
from eskit.domain.aggregate import (
    AnyAggregate,
    fold,
    pending_events,
    restore,
    restored_version,
    stream_of,
)
from eskit.domain.messages import encode
from eskit.domain.streams import id_of, stream_name
from eskit.domain.upcasting import Upcasters
from eskit.errors import InvalidArgument, StoreDamaged, StreamNotFound
from eskit.store.eventstore import EventStore
from eskit.store.records import Snapshot

AnAggregate = TypeVar("AnAggregate", bound=AnyAggregate)

_log = logging.getLogger(__name__)
_MOST_WAITING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPolicy:
    """When a snapshot is taken: `every` so many events, of which the newest `keep` stay."""

    every: int
    keep: int = 2

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep < 1:
            raise InvalidArgument(
                f"No snapshot policy: every {self.every} events, keep {self.keep}",
                hint="Both are whole numbers from 1; leave the policy out for no snapshots.",
            )


class Snapshotter:
    """Loads aggregates from their snapshots and takes new ones. Thread-safe.

    Snapshots are made by a thread of their own, so that no append waits for one, and from the
    log, so that a state that no event gave is not kept. One that cannot be saved is a warning in
    the log: the events are all there.
    """

    def __init__(
        self, store: EventStore, policy: SnapshotPolicy, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._clock = clock
        self._store = store
        self._policy = policy
        self._lock = threading.Lock()
        self._waiting: deque[_Due] = deque()
        self._saver: Thread | None = None
        self._closed = False

    def start_from(
        self, aggregate: AnyAggregate, *, tenant: str, before: int | None = None
    ) -> Snapshot | None:
        """Put a fresh aggregate at its newest snapshot below version `before`, if it has one.

        The caller goes on from the event of the snapshot itself, to see that it is the log's:
        see `confirms`. A snapshot that is damaged is passed over with a warning.
        """
        snapshot = self._find(aggregate, tenant=tenant, before=before)
        if snapshot is None:
            return None
        state = _parse(snapshot, type(aggregate).__aggregate__.state)
        if state is None:
            _pass_over(snapshot, "is damaged")
            return None
        restore(aggregate, state, snapshot.version)
        return snapshot

    def _find(self, aggregate: AnyAggregate, *, tenant: str, before: int | None) -> Snapshot | None:
        stream = stream_of(aggregate)
        try:
            return self._store.for_tenant(tenant).snapshots.find(
                stream,
                schema=state_schema(type(aggregate).__aggregate__.state),
                fold_version=aggregate.fold_version,
                before=before,
            )
        except StoreDamaged as error:
            # The pages of snapshots may be damaged where those of the log are not.
            _log.warning(
                "No snapshot of %s can be read: %s; the stream is replayed instead", stream, error
            )
            return None

    def appended(
        self, aggregate: AnyAggregate, *, tenant: str, upcasters: Upcasters | None = None
    ) -> None:
        """Take a snapshot if it is time for one; call it before the pending events are cleared."""
        events = pending_events(aggregate)
        if not events or aggregate.version - restored_version(aggregate) < self._policy.every:
            return
        due = _Due(type(aggregate), aggregate.id, aggregate.version, tenant, upcasters)
        self._enqueue(due)

    def close(self) -> None:
        """Save what waits to be saved; idempotent."""
        with self._lock:
            self._closed, saver = True, self._saver
        if saver is not None and saver.is_alive():
            saver.join()

    def _enqueue(self, due: _Due) -> None:
        with self._lock:
            if self._closed:
                return
            if len(self._waiting) >= _MOST_WAITING:
                _log.warning("No snapshot of %s: too many are waiting to be saved", due.stream)
                return
            self._waiting.append(due)
            if self._saver is None:
                self._saver = self._clock.start(self._save_all, name="eskit-snapshots", daemon=True)

    def _save_all(self) -> None:
        """Save what waits, then end: the next snapshot starts a new thread."""
        while (due := self._next()) is not None:
            try:
                self._save(due)
            except Exception as error:  # noqa: BLE001 - such as that of users' code, which folds
                _log.warning("No snapshot of %s: %s", due.stream, error)

    def _next(self) -> _Due | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._saver = None
            return None

    def _save(self, due: _Due) -> None:
        """Fold the log up to what is due, from the snapshot before it, and keep the state."""
        aggregate = due.aggregate_class(due.aggregate_id)
        earlier = self.start_from(aggregate, tenant=due.tenant, before=due.version)
        if earlier is not None and not confirms(self._store, earlier):
            aggregate = due.aggregate_class(due.aggregate_id)
        bounds = {"after": aggregate.version, "before": due.version + 1}
        rows = self._store.for_tenant(due.tenant).read_rows(due.stream, **bounds)
        fold(aggregate, rows, due.upcasters, tenant=due.tenant)
        last = self._store.for_tenant(due.tenant).read_stream(
            due.stream, after=due.version - 1, limit=1
        )
        for event in last:
            snapshot = take(
                aggregate, event_id=event.event_id, tenant=due.tenant, at=self._clock.now
            )
            self._store.snapshots.save(snapshot, keep=self._policy.keep)


class _Due(NamedTuple):
    """A snapshot that it is time for."""

    aggregate_class: type[AnyAggregate]
    aggregate_id: str
    version: int
    tenant: str
    upcasters: Upcasters | None

    @property
    def stream(self) -> str:
        return stream_name(self.aggregate_class.__aggregate__.name, self.aggregate_id)


def take(aggregate: AnyAggregate, *, event_id: str, tenant: str, at: datetime) -> Snapshot:
    """The aggregate's state after the event of that id, which is its last one."""
    kind = type(aggregate).__aggregate__.state
    state = encode(aggregate.state)
    return Snapshot(
        stream=stream_of(aggregate),
        tenant=tenant,
        version=aggregate.version,
        event_id=event_id,
        schema=state_schema(kind),
        fold_version=aggregate.fold_version,
        created_at=at,
        checksum=_checksum(state),
        state=state,
    )


def create_snapshot(
    store: EventStore,
    aggregate_class: type[AnyAggregate],
    aggregate_id: str,
    *,
    upcasters: Upcasters | None = None,
    policy: SnapshotPolicy | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Snapshot:
    """Fold every event of an aggregate and keep the state; raises StreamNotFound.

    InvalidArgument for a stream that was erased: it gets no snapshots.
    """
    aggregate = aggregate_class(aggregate_id)
    stream = stream_of(aggregate)
    fold(aggregate, store.read_rows(stream), upcasters, tenant=store.tenant)
    if not aggregate.version:
        raise StreamNotFound(stream)
    last = next(store.read_stream(stream, after=aggregate.version - 1, limit=1))
    snapshot = take(aggregate, event_id=last.event_id, tenant=store.tenant, at=clock.now)
    if not store.snapshots.save(snapshot, keep=(policy or _BY_HAND).keep):
        raise InvalidArgument(
            f"{stream} was erased; no snapshot was saved",
            hint="No action needed: eskit folds it from its events.",
        )
    return snapshot


_BY_HAND = SnapshotPolicy(every=1)


def confirms(store: EventStore, snapshot: Snapshot) -> bool:
    """Whether the log has the event that the snapshot was taken after; a warning if not."""
    for event in store.for_tenant(snapshot.tenant).read_stream(
        snapshot.stream, after=snapshot.version - 1, limit=1
    ):
        if event.event_id == snapshot.event_id:
            return True
        _pass_over(snapshot, "is of another history of the stream")
        return False
    _pass_over(snapshot, "is ahead of the stream")
    return False


def state_schema(kind: type[Message]) -> str:
    """What identifies the shape of a state: every message and enum that it is made of."""
    return _schema(kind.DESCRIPTOR)


@cache
def _schema(state: Descriptor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for shape in sorted(_shapes(state, set())):
        digest.update(shape)
    return digest.hexdigest()


def _shapes(message: Descriptor, seen: set[str]) -> Iterator[bytes]:
    """Name and declaration of a message, and of all that its fields hold."""
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    declared = DescriptorProto()
    message.CopyToProto(declared)
    yield message.full_name.encode() + declared.SerializeToString(deterministic=True)
    for field in message.fields:
        if field.message_type is not None:
            yield from _shapes(field.message_type, seen)
        elif field.enum_type is not None:
            values = EnumDescriptorProto()
            field.enum_type.CopyToProto(values)
            yield field.enum_type.full_name.encode() + values.SerializeToString(deterministic=True)


def _parse(snapshot: Snapshot, kind: type[Message]) -> Message | None:
    if _checksum(snapshot.state) != snapshot.checksum:
        return None
    try:
        return kind.FromString(snapshot.state)
    except DecodeError:
        return None


def _checksum(state: bytes) -> str:
    return hashlib.blake2b(state, digest_size=16).hexdigest()


def _pass_over(snapshot: Snapshot, reason: str) -> None:
    _log.warning(
        "The snapshot of %s at version %d %s; the stream is replayed instead",
        snapshot.stream,
        snapshot.version,
        reason,
    )


SnapshotVerdict = Literal["ok", "stale", "damaged", "ahead", "different"]
"""What a snapshot is found to be: as the log says; of other code; unreadable; of an event that
the log does not have; or with another state than its events give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSnapshot:
    """A snapshot and how it stands to the log."""

    snapshot: Snapshot
    verdict: SnapshotVerdict


def check_snapshot(
    store: EventStore,
    snapshot: Snapshot,
    aggregate_class: type[AnyAggregate],
    upcasters: Upcasters | None = None,
) -> CheckedSnapshot:
    """Fold the events again and compare: that finds a `fold_version` nobody raised."""
    return CheckedSnapshot(
        snapshot=snapshot, verdict=_verdict_of(store, snapshot, aggregate_class, upcasters)
    )


def _verdict_of(
    store: EventStore,
    snapshot: Snapshot,
    aggregate_class: type[AnyAggregate],
    upcasters: Upcasters | None,
) -> SnapshotVerdict:
    state = aggregate_class.__aggregate__.state
    if not snapshot.readable:
        return "damaged"
    if (snapshot.schema, snapshot.fold_version) != (
        state_schema(state),
        aggregate_class.fold_version,
    ):
        return "stale"
    kept = _parse(snapshot, state)
    if kept is None:
        return "damaged"
    if not confirms(store, snapshot):
        return "ahead"
    folded = aggregate_class(id_of(snapshot.stream))
    rows = store.for_tenant(snapshot.tenant).read_rows(snapshot.stream, before=snapshot.version + 1)
    fold(folded, rows, upcasters, tenant=snapshot.tenant)
    return "ok" if folded.state == kept else "different"
