"""A stream event by event, with the state after each and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice, takewhile
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from eskit.domain.aggregate import AnyAggregate, fold, fold_event, restore
from eskit.domain.events import RecordedEvent
from eskit.domain.streams import category_of, id_of
from eskit.domain.upcasting import Upcasters
from eskit.errors import InvalidArgument, StreamNotFound
from eskit.schema.jsonmap import AMessage, to_dict
from eskit.schema.paths import Shape, is_map, join_path, shape_below
from eskit.store.eventstore import EventStore, missing_version
from eskit.store.repository import microseconds

_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """One value of the state that an event changed.

    `path` is dotted, with numbers for places in a list: ``limits.0.amount`` (eskit.schema.paths).
    None stands for a value that is not there, and for null where the value can be that: `added`
    and `removed` tell the two apart. `field` is what the proto says of the value, if it does.
    """

    path: str
    old: Any
    new: Any
    added: bool = False
    removed: bool = False
    field: FieldDescriptor | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """One event, and the states before and after it as messages of their own."""

    event: RecordedEvent
    version: int
    before: Message
    after: Message

    @property
    def state(self) -> dict[str, Any]:
        """The state after the event as plain JSON values."""
        return to_dict(self.after)

    @property
    def changes(self) -> list[StateChange]:
        """What the event changed."""
        return list(find_state_changes(self.before, self.after))


def replay(
    store: EventStore,
    aggregate_class: type[AnyAggregate],
    stream: str,
    *,
    upcasters: Upcasters | None = None,
    after: int = 0,
    to_version: int | None = None,
    at: datetime | None = None,
    limit: int | None = None,
    backward: bool = False,
) -> Iterator[ReplayStep]:
    """Fold a stream as the application does, and show every step.

    Those above version `after` are shown; `to_version` and `at` name the last version and the last
    moment shown, both included. With `backward` the steps come in reverse, the last one first.
    `limit` is how many are shown at most. Events that are not shown are folded all the same.
    Raises StreamNotFound for a stream without events, and InvalidArgument for a stream of
    another aggregate type.
    """
    if category_of(stream) != aggregate_class.__aggregate__.name:
        raise InvalidArgument(
            f"{stream} is not a stream of {aggregate_class.__aggregate__.name}",
            hint="Choose the aggregate class that the stream is named after.",
        )
    if to_version is not None and to_version < 1:
        raise InvalidArgument(
            f"There is no version {to_version}", hint="The first event has version 1."
        )
    latest = None if at is None else microseconds(at)
    if not store.stream_version(stream):
        raise StreamNotFound(stream)
    history = _History(
        store=store,
        aggregate_class=aggregate_class,
        stream=stream,
        upcasters=upcasters,
        after=after,
        before=None if to_version is None else to_version + 1,
        latest=latest,
    )
    return islice(history.backward() if backward else history.forward(), limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _History:
    """The part of a stream that is replayed."""

    store: EventStore
    aggregate_class: type[AnyAggregate]
    stream: str
    upcasters: Upcasters | None
    after: int
    before: int | None
    latest: int | None
    """The last moment, in microseconds."""

    def forward(self) -> Iterator[ReplayStep]:
        """The steps in the order of their events."""
        aggregate = self.aggregate_class(id_of(self.stream))
        if self.after:
            rows = self.store.read_rows(self.stream, before=self.after + 1)
            fold(aggregate, rows, self.upcasters, tenant=self.store.tenant)
        yield from self.steps(aggregate)

    def steps(self, aggregate: AnyAggregate, *, before: int | None = None) -> Iterator[ReplayStep]:
        """Every step from where the aggregate is, below version `before`."""
        bound = self.before if before is None else before
        state = _copy(aggregate.state)
        for event in self.store.read_stream(self.stream, after=aggregate.version, before=bound):
            if self.latest is not None and event.row.recorded_at > self.latest:
                return
            if event.version != aggregate.version + 1:
                raise missing_version(self.stream, aggregate.version + 1)
            fold_event(aggregate, event, self.upcasters)
            old, state = state, _copy(aggregate.state)
            yield ReplayStep(event=event, version=aggregate.version, before=old, after=state)

    def backward(self) -> Iterator[ReplayStep]:
        """The steps in reverse.

        A fold goes forward only, so the stream is folded once for a state every `_BLOCK` events,
        and then block by block from its end: two folds, and one block in memory.
        """
        marks = [(0, b"")]
        end = self._fold_with_marks(marks)
        for version, state in reversed(marks):
            start = self.aggregate_class(id_of(self.stream))
            restore(start, self.aggregate_class.__aggregate__.state.FromString(state), version)
            block = list(self.steps(start, before=end + 1))
            yield from (step for step in reversed(block) if step.version > self.after)
            end = version
            if end <= self.after:
                return

    def _fold_with_marks(self, marks: list[tuple[int, bytes]]) -> int:
        """Add a version and state after every full block; the last version of all."""
        aggregate, state = (
            self.aggregate_class(id_of(self.stream)),
            self.aggregate_class.__aggregate__.state,
        )
        rows = self.store.read_rows(self.stream, before=self.before)
        latest = self.latest
        if latest is not None:
            rows = takewhile(lambda row: row.recorded_at <= latest, rows)
        while block := list(islice(rows, _BLOCK)):
            fold(aggregate, block, self.upcasters, tenant=self.store.tenant)
            if len(block) == _BLOCK:
                marks.append((aggregate.version, state.SerializeToString(aggregate.state)))
        return aggregate.version


def find_state_changes(old: Message, new: Message) -> Iterator[StateChange]:
    """What differs between two states, in the order of their fields.

    Only the fields that differ become JSON values, and of a list only what follows the part that
    is the same: a list that grows with every event costs each step what it adds.
    """
    descriptor = cast("Descriptor", type(new).DESCRIPTOR)
    old, new = _copy(old), _copy(new)
    skipped: dict[str, int] = {}
    fields = {found.number: found for found, _ in (*old.ListFields(), *new.ListFields())}
    for found in fields.values():
        if found.is_extension:
            continue
        before, after = getattr(old, found.name), getattr(new, found.name)
        if found.is_repeated and not is_map(found):
            skipped[found.name] = same = _common(before, after)
            del before[:same], after[:same]
        elif before == after and (not found.has_presence or _both_have(old, new, found.name)):
            old.ClearField(found.name)
            new.ClearField(found.name)
    for change in find_changes(to_dict(old), to_dict(new), shape=descriptor):
        name, *rest = change.path.split(".", 2)
        if rest and (same := skipped.get(name, 0)):
            index, *rest = rest
            path = ".".join([name, str(int(index) + same), *rest])
            yield replace(change, path=path)
        else:
            yield change


def find_changes(
    old: Any, new: Any, path: str = "", *, shape: Shape = None
) -> Iterator[StateChange]:
    """What differs between two JSON values, in the order of their fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from find_changes(
                old.get(key, _MISSING),
                new.get(key, _MISSING),
                join_path(path, key),
                shape=shape_below(shape, key),
            )
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            below = join_path(path, index)
            yield from find_changes(_item(old, index), _item(new, index), below, shape=shape)
    elif type(old) is not type(new) or old != new:
        yield StateChange(
            path=path,
            old=None if old is _MISSING else old,
            new=None if new is _MISSING else new,
            added=old is _MISSING,
            removed=new is _MISSING,
            field=shape if isinstance(shape, FieldDescriptor) else None,
        )


_MISSING = object()


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else _MISSING


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two lists begin with alike."""
    same = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        same += 1
    return same


def _both_have(one: Message, other: Message, name: str) -> bool:
    return one.HasField(name) == other.HasField(name)


def _copy(message: AMessage) -> AMessage:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
