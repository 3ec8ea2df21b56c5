"""Aggregates: commands in, events out, state folded from the events."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from eskit.domain.events import (
    TRACEPARENT,
    FoldRow,
    Metadata,
    NewEvent,
    RecordedEvent,
    is_erased,
)
from eskit.domain.messages import message_class, message_type
from eskit.domain.services import Method
from eskit.domain.streams import stream_name
from eskit.domain.time import from_microseconds
from eskit.errors import FoldFailed, InvalidArgument, UnknownEventType, UpcastingInvalid

if TYPE_CHECKING:
    from eskit.domain.claims import Claim
    from eskit.domain.context import MessageContext
    from eskit.domain.upcasting import Upcasters

State = TypeVar("State", bound=Message)
Event = TypeVar("Event", bound=Message)


class EventMethod(NamedTuple):
    """One event of an aggregate and the method that applies it."""

    event: type[Message]
    python_name: str
    deprecated: bool = False


class AggregateType(NamedTuple):
    """What the proto says of an aggregate; generated code puts it in ``__aggregate__``."""

    name: str
    state: type[Message]
    id_field: str
    commands: tuple[Method, ...]
    events: tuple[EventMethod, ...]


class Aggregate(ABC, Generic[State, Event]):
    """Base of generated aggregate classes.

    A command method reads `state`, calls `emit` with events and returns the response. An event
    method changes `state` and does nothing else. Only `state` is kept: other attributes are lost
    with the instance. Generated classes name the message of the state and the events that can be
    emitted, so a type checker refuses others.

    >>> from bank.domain.account import Account
    >>> from bank.gen.account.v1 import account_pb2 as pb
    >>> account = Account("a-1")
    >>> account.emit(pb.AccountOpenedEvent(account_id="a-1", owner_name="Alice"))
    >>> account.version, account.state.owner_name
    (1, 'Alice')
    """

    __aggregate__: ClassVar[AggregateType]
    fold_version: ClassVar[int] = 1
    """Raise it when event methods change meaning: snapshots of other versions are ignored."""

    state: State

    def __init__(self, aggregate_id: str, /) -> None:
        self._id = aggregate_id
        self._version = 0
        self._restored_version = 0
        self._pending: list[NewEvent] = []
        self._context: MessageContext | FoldRow | None = None
        self._tenant = ""
        self.state = self.__aggregate__.state()  # type: ignore[assignment]

    @property
    def id(self) -> str:
        """The id within the aggregate type, known before the first event."""
        return self._id

    @property
    def version(self) -> int:
        """How many events have been applied, those just emitted included."""
        return self._version

    @property
    def context(self) -> MessageContext:
        """The command being decided, or the one behind the event being applied."""
        if isinstance(self._context, FoldRow):
            self._context = _context_of_row(self._context, self._tenant)
        if self._context is None:
            raise InvalidArgument(
                "There is a context only while a command is decided or an event is applied",
                hint="Use self.context inside the methods of the aggregate.",
            )
        return self._context

    def emit(self, event: Event, *claims: Claim, custom: Mapping[str, str] | None = None) -> None:
        """Record `event` with its claims, and apply it to the state at once.

        `custom` becomes the event's own metadata pairs. Raises UnknownEventType for a message
        that is no event of this aggregate.
        """
        apply_event = _event_methods(type(self)).get(message_type(event))
        if apply_event is None:
            raise UnknownEventType(message_type(event))
        new = NewEvent(event, metadata=self._metadata(custom or {}), claims=claims)
        getattr(self, apply_event)(event)
        self._pending.append(new)
        self._version += 1

    def _metadata(self, custom: Mapping[str, str]) -> Metadata:
        if self._context is None:
            return Metadata(custom=custom)
        context = self.context
        if context.traceparent and TRACEPARENT not in custom:
            custom = {**custom, TRACEPARENT: context.traceparent}
        return Metadata(
            correlation_id=context.correlation_id,
            causation_id=context.causation_id,
            command_id=context.command_id,
            principal_id=context.principal_id,
            custom=custom,
        )


AnyAggregate = Aggregate[Any, Any]


def stream_of(aggregate: AnyAggregate) -> str:
    """The stream that holds the aggregate's events."""
    return stream_name(aggregate.__aggregate__.name, aggregate.id)


def pending_events(aggregate: AnyAggregate) -> tuple[NewEvent, ...]:
    """What the aggregate has emitted since it was loaded."""
    return tuple(aggregate._pending)


def clear_pending(aggregate: AnyAggregate) -> None:
    """Forget what was emitted, because it is stored now."""
    aggregate._pending.clear()


def enter_context(aggregate: AnyAggregate, context: MessageContext | None) -> None:
    """Let the aggregate's methods see `context`; None ends it."""
    aggregate._context = context


def restore(
    aggregate: AnyAggregate, state: Message, version: int, *, snapshot_version: int | None = None
) -> None:
    """Put a fresh aggregate at a state that was folded before, by default at a snapshot.

    `snapshot_version` is that of the snapshot the state was folded from, 0 for none.
    """
    aggregate.state = state
    aggregate._version = version
    aggregate._restored_version = version if snapshot_version is None else snapshot_version


def restored_version(aggregate: AnyAggregate) -> int:
    """The version of the snapshot that the state was folded from; 0 if every event was folded."""
    return aggregate._restored_version


def fold(
    aggregate: AnyAggregate,
    rows: Iterable[FoldRow],
    upcasters: Upcasters | None = None,
    *,
    tenant: str = "",
) -> FoldRow | None:
    """Apply stored events of a tenant's stream, in order, each as its current form.

    Returns the last one, but None if one of them is erased.

    This is the one fold: loading, replay, snapshots and their verification all use it. An erased
    event counts as a version and changes nothing.
    Raises UnknownEventType for an event that the aggregate has no method for, and FoldFailed
    when an upcaster or the method itself raises, or the payload does not parse.
    """
    appliers = _Appliers(aggregate, upcasters)
    aggregate._tenant = tenant
    row, whole = None, True
    found = ""  # the event type whose applier it is: long streams are runs of one
    for row in rows:
        aggregate._context = row
        version, event_type, _, metadata, data = row
        if data or not is_erased(metadata):
            try:
                if event_type != found:
                    parse, method = appliers[event_type]
                    found = event_type
                method(parse(data))
            except (UnknownEventType, UpcastingInvalid):
                raise
            except Exception as error:
                raise FoldFailed(stream_of(aggregate), version, event_type, error) from error
        else:
            whole = False
        aggregate._version = version
    aggregate._context = None
    return row if whole else None


def fold_event(
    aggregate: AnyAggregate, event: RecordedEvent, upcasters: Upcasters | None = None
) -> None:
    """Apply one recorded event."""
    fold(aggregate, (FoldRow.of(event.row),), upcasters, tenant=event.tenant)


class _Appliers(dict[str, tuple[Callable[[bytes], Message], Callable[[Message], None]]]):
    """By event type, what parses a payload and what applies it; found when first needed."""

    def __init__(self, aggregate: AnyAggregate, upcasters: Upcasters | None) -> None:
        self._aggregate = aggregate
        self._upcasters = upcasters

    def __missing__(
        self, event_type: str
    ) -> tuple[Callable[[bytes], Message], Callable[[Message], None]]:
        upcasters = self._upcasters
        current = upcasters.current_type(event_type) if upcasters else event_type
        name = _event_methods(type(self._aggregate)).get(current)
        if name is None:
            raise UnknownEventType(event_type)
        parse: Callable[[bytes], Message]
        if upcasters and upcasters.touches(event_type):
            parse = partial(upcasters.decode, event_type)
        else:
            parse = message_class(event_type).FromString
        self[event_type] = found = parse, getattr(self._aggregate, name)
        return found


def _event_methods(kind: type[AnyAggregate]) -> Mapping[str, str]:
    """By event type, the name of the method that applies it; built once for a class."""
    methods: Mapping[str, str] | None = kind.__dict__.get("_event_method_names")
    if methods is None:
        methods = {message_type(m.event): m.python_name for m in kind.__aggregate__.events}
        kind._event_method_names = methods  # type: ignore[attr-defined]
    return methods


def _context_of_row(row: FoldRow, tenant: str) -> MessageContext:
    # Generated modules import this one, and few of them need the context of a stored event.
    from eskit.domain.context import MessageContext

    metadata = Metadata.from_json(row.metadata)
    return MessageContext(
        command_id=metadata.command_id,
        correlation_id=metadata.correlation_id,
        causation_id=metadata.causation_id,
        principal_id=metadata.principal_id,
        tenant=tenant,
        now=from_microseconds(row.recorded_at),
        traceparent=metadata.custom.get(TRACEPARENT, ""),
    )
