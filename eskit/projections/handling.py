"""Calling handlers: from a stored event to every handler that wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.messages import message_class
from eskit.domain.upcasting import Upcasters
from eskit.errors import UnknownEventType
from eskit.projections.lookup import EventLookup
from eskit.projections.projection import EventContext, Handler, Projection
from eskit.raised import is_ctrl_c

Decode: TypeAlias = Callable[[bytes], Message]
Dispatch: TypeAlias = Mapping[str, tuple[Decode, Sequence[tuple[Handler, EventContext]]]]

# Between two looks at the clock.
_SLICE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The handlers of a projection by stored event type, older types of an event included."""

    projection: Projection
    handlers: Mapping[str, Handler]

    @property
    def event_types(self) -> tuple[str, ...]:
        """The stored event types the projection wants, sorted."""
        return tuple(sorted(self.handlers))


class HandlerRaised(Exception):
    """Carries what a handler raised, and on which event, out of a transaction to be undone."""

    def __init__(self, event: RecordedEvent, error: BaseException) -> None:
        super().__init__(event, error)
        self.event = event
        self.error = error


def subscribe(projection: Projection, upcasters: Upcasters) -> Subscription:
    """What a projection wants of the log, given how old events are read."""
    return Subscription(
        projection=projection,
        handlers={
            stored: handler
            for current, handler in projection.handlers.items()
            for stored in upcasters.stored_types(current)
            # An upcast event arrives as what it has become, never as what it was.
            if upcasters.current_type(stored) == current
        },
    )


def handler_packages(handlers: Iterable[Handler]) -> set[str]:
    """The top-level packages that handlers come from."""
    return {handler.__module__.partition(".")[0] for handler in handlers}


def decoder(event_type: str, upcasters: Upcasters) -> Decode:
    """How the payload of a stored event type is read."""
    if upcasters.touches(event_type):
        return lambda data: upcasters.decode(event_type, data)
    try:
        parse: Decode = message_class(event_type).FromString
    except UnknownEventType as error:
        unknown = error

        def refuse(_: bytes) -> Message:
            raise unknown

        return refuse
    return parse


def build_dispatch(
    subscriptions: Iterable[tuple[Subscription, EventContext]], upcasters: Upcasters
) -> Dispatch:
    """By event type, how to decode it and whom to call."""
    targets: dict[str, list[tuple[Handler, EventContext]]] = {}
    for subscription, context in subscriptions:
        for event_type, handler in subscription.handlers.items():
            targets.setdefault(event_type, []).append((handler, context))
    return {
        event_type: (decoder(event_type, upcasters), calls) for event_type, calls in targets.items()
    }


def handle_all(
    dispatch: Dispatch,
    rows: Sequence[LogRow],
    lookup: EventLookup,
    *,
    seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> int:
    """Call the handlers of the events in order, for about `seconds`; how many events that was.

    An erased event counts and is passed over: there is nothing left to handle.
    Raises HandlerRaised on the first that does not go well.
    """
    deadline = clock.monotonic() + seconds
    lookup.until = position = rows[-1][0] if rows else 0
    try:
        for start in range(0, len(rows), _SLICE):
            for position, _, event_type, data in rows[start : start + _SLICE]:
                if data is None:
                    continue
                decode, calls = dispatch[event_type]
                message = decode(data)
                for handler, context in calls:
                    context.position = position
                    lookup.calling = context
                    handler(message, context)
            if clock.monotonic() > deadline:
                return min(start + _SLICE, len(rows))
    except BaseException as error:
        if error is lookup.outage or is_ctrl_c(error):
            raise
        raise HandlerRaised(lookup.load(position), error) from error
    finally:
        lookup.calling = None
    return len(rows)


def handle_filtered(
    dispatch: Dispatch,
    rows: Sequence[LogRow],
    lookup: EventLookup,
    *,
    seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> int:
    """What `handle_all` does, where a context has a filter, which may keep events away."""
    deadline = clock.monotonic() + seconds
    lookup.until = rows[-1][0] if rows else 0
    for done, row in enumerate(rows, start=1):
        try:
            _handle_filtered(dispatch, row, lookup)
        except BaseException as error:
            if error is lookup.outage or is_ctrl_c(error):
                raise
            raise HandlerRaised(lookup.load(row[0]), error) from error
        finally:
            lookup.calling = None
        if clock.monotonic() > deadline:
            return done
    return len(rows)


def _handle_filtered(dispatch: Dispatch, row: LogRow, lookup: EventLookup) -> None:
    position, _, event_type, data = row
    if data is None:
        return
    decode, every = dispatch[event_type]
    calls = []
    for handler, context in every:
        context.position = position
        if context.skip_filter is None or context.skip_filter.lets_through(context.event):
            calls.append((handler, context))
    # What a skip_filter keeps back may not even be decodable.
    message = decode(data) if calls else None
    for handler, context in calls:
        lookup.calling = context
        handler(message, context)
