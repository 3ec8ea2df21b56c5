"""Handling events: from stored rows to the handlers of every projection that wants them.

A run, a rebuild, a comparison and the retry of a dead letter all call handlers here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.messages import message_class
from eskit.domain.upcasting import Upcasters
from eskit.errors import EskitError, ReadModelUnavailable, UnknownEventType
from eskit.processes.holding import Holder
from eskit.projections.effects import Effects
from eskit.projections.log import EventLog
from eskit.projections.lookup import EventLookup
from eskit.projections.port import ReadModel
from eskit.projections.projection import EventContext, Handler, Projection
from eskit.projections.records import START, EventPosition, ProjectionState
from eskit.projections.skips import SkipFilter, load_skip_filter
from eskit.raised import is_ctrl_c

if TYPE_CHECKING:
    from eskit.projections.locks import ProjectionLock

_Decode: TypeAlias = Callable[[bytes], Message]
_Calls: TypeAlias = Sequence[tuple[Handler, EventContext[Any]]]

# Between two looks at the clock.
_SLICE = 64


class HandlerRaised(Exception):
    """Carries what a handler raised, and on which event, out of a transaction to be undone."""

    def __init__(self, event: RecordedEvent, error: BaseException) -> None:
        super().__init__(event, error)
        self.event = event
        self.error = error


@dataclass(slots=True, eq=False)
class ProjectionRun:
    """One projection that is run or rebuilt: its handlers, how far it is, and what stopped it.

    `handlers` are by stored event type, older types of an event included. `stopped_at` is what was
    remembered of it when it stopped with `error`. Without a `lock` the caller has taken care.
    """

    projection: Projection[Any]
    handlers: Mapping[str, Handler]
    lock: ProjectionLock | None = None
    clock: Clock = SYSTEM_CLOCK
    checkpoint: EventPosition = START
    events: int = 0
    set_aside: int = 0
    failed_before: bool = False
    paused: bool = False
    has_exceptions: bool = False
    attempts: int = 0
    retry_at: float = 0.0
    error: EskitError | None = None
    stopped_at: ProjectionState | None = None
    holder: Holder | None = None
    rate: float = 0.0
    context: EventContext[Any] = field(init=False)
    effects: Effects | None = None
    skip_filter: SkipFilter | None = None

    @property
    def name(self) -> str:
        """The name of the projection."""
        return self.projection.name

    @property
    def event_types(self) -> list[str]:
        """The stored event types that it wants, sorted."""
        return sorted(self.handlers)

    @property
    def held(self) -> bool:
        """Whether this process is the one that runs it."""
        return self.lock is None or self.lock.held

    @property
    def is_going(self) -> bool:
        """Whether it can handle events now: not stopped, not paused, not waiting."""
        waits = not self.held or self.paused or self.retry_at > self.clock.monotonic()
        return self.error is None and not waits

    def stop(self, error: EskitError, state: ProjectionState | None) -> None:
        """Go on no more, unless what is remembered of it changes."""
        self.error, self.stopped_at = error, state

    def wants(self, row: LogRow) -> bool:
        """Whether it has a handler for the event."""
        return row[2] in self.handlers

    def forget_attempts(self) -> None:
        """What was to be tried again is passed, or not reached."""
        self.attempts, self.retry_at = 0, 0.0


class Handling:
    """Calls the handlers of some projections of one read model.

    With effects what handlers want to happen once is recorded, else not: in a rebuild it has
    happened.
    """

    def __init__(
        self,
        log: EventLog,
        model: ReadModel[Any],
        runs: Iterable[ProjectionRun],
        *,
        upcasters: Upcasters,
        effects: bool,
        clock: Clock,
    ) -> None:
        self._model = model
        self._upcasters = upcasters
        self._clock = clock
        self._dispatches: dict[tuple[ProjectionRun, ...], Mapping[str, tuple[_Decode, _Calls]]] = {}
        runs = list(runs)
        self.lookup = EventLookup(log, {name for run in runs for name in run.handlers})
        for run in runs:
            packages = handler_packages(run.handlers.values())
            run.effects = Effects(model, run.name, packages, clock=clock) if effects else None
            once = run.effects.record if run.effects is not None else None
            run.context = EventContext(model.db, self.lookup.load, once)

    def call(
        self,
        group: Sequence[ProjectionRun],
        rows: Sequence[LogRow],
        *,
        seconds: float,
        singly: bool = False,
    ) -> int:
        """Call the handlers of the events in order, for about `seconds`; how many events that was.

        An erased event counts and is passed over: there is nothing left to handle. So does one
        that is skipped. Part of the caller's transaction: raises HandlerRaised on the first that
        does not go well, and ReadModelUnavailable if the handler only met a full disk or the like.
        Only `singly` it is surely that event: else a read model may have put statements off.
        """
        for run in group:
            if run.effects is not None:
                run.effects.begin()
            run.skip_filter = (
                load_skip_filter(self._model, run.name, clock=self._clock)
                if run.has_exceptions
                else None
            )
        filtered = any(run.skip_filter is not None for run in group)
        self.lookup.until = rows[-1][0] if rows else 0
        try:
            call = self._call_filtered if filtered else self._call_all
            done = call(group, rows, seconds, singly=singly)
            if done:
                self._flush(rows[done - 1][0])
            return done
        except HandlerRaised as raised:
            if self._model.is_transient(raised.error):
                raise ReadModelUnavailable(
                    f"The read model failed under a handler: {raised.error}",
                    hint="Fix the cause, then run again: the batch was rolled back.",
                ) from raised.error
            raise
        finally:
            self.lookup.calling = None

    def _call_all(
        self,
        group: Sequence[ProjectionRun],
        rows: Sequence[LogRow],
        seconds: float,
        *,
        singly: bool,
    ) -> int:
        lookup, dispatch = self.lookup, self._dispatch(group)
        deadline = self._clock.monotonic() + seconds
        position = 0
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
                    if singly:
                        self._model.flush()
                if self._clock.monotonic() > deadline:
                    return min(start + _SLICE, len(rows))
        except BaseException as error:
            if self._is_no_fault(error):
                raise
            raise HandlerRaised(lookup.load(position), error) from error
        return len(rows)

    def _call_filtered(
        self,
        group: Sequence[ProjectionRun],
        rows: Sequence[LogRow],
        seconds: float,
        *,
        singly: bool,
    ) -> int:
        dispatch = self._dispatch(group)
        deadline = self._clock.monotonic() + seconds
        for done, (position, _, event_type, data) in enumerate(rows, start=1):
            if data is None:
                continue
            decode, _ = dispatch[event_type]
            try:
                wanting = [run for run in group if self._is_let_through(run, position, event_type)]
                # What is kept back may not even be decodable.
                message = decode(data) if wanting else None
                for run in wanting:
                    self.lookup.calling = run.context
                    run.handlers[event_type](message, run.context)
                if singly:
                    self._model.flush()
            except BaseException as error:
                if self._is_no_fault(error):
                    raise
                raise HandlerRaised(self.lookup.load(position), error) from error
            if self._clock.monotonic() > deadline:
                return done
        return len(rows)

    def _flush(self, position: int) -> None:
        """Run what handlers have put off up to the event at a position."""
        try:
            self._model.flush()
        except Exception as error:
            raise HandlerRaised(self.lookup.load(position), error) from error

    def _is_let_through(self, run: ProjectionRun, position: int, event_type: str) -> bool:
        if event_type not in run.handlers:
            return False
        run.context.position = position
        return run.skip_filter is None or run.skip_filter.lets_through(run.context.event)

    def _is_no_fault(self, error: BaseException) -> bool:
        """Whether not the handler is to blame: the log is away, or somebody pressed Ctrl-C."""
        return error is self.lookup.log_error or is_ctrl_c(error)

    def _dispatch(self, group: Sequence[ProjectionRun]) -> Mapping[str, tuple[_Decode, _Calls]]:
        """By event type, how to decode it and whom to call."""
        key = tuple(group)
        if key not in self._dispatches:
            calls: dict[str, list[tuple[Handler, EventContext[Any]]]] = {}
            for run in group:
                for event_type, handler in run.handlers.items():
                    calls.setdefault(event_type, []).append((handler, run.context))
            self._dispatches[key] = {
                event_type: (_decoder(event_type, self._upcasters), found)
                for event_type, found in calls.items()
            }
        return self._dispatches[key]


def find_handlers(projection: Projection[Any], upcasters: Upcasters) -> dict[str, Handler]:
    """What a projection wants of the log, by stored event type, given how old events are read."""
    return {
        stored: handler
        for current, handler in projection.handlers.items()
        for stored in upcasters.stored_types(current)
        # An upcast event arrives as what it has become, never as what it was.
        if upcasters.current_type(stored) == current
    }


def handler_packages(handlers: Iterable[Handler]) -> set[str]:
    """The top-level packages that handlers come from."""
    return {handler.__module__.partition(".")[0] for handler in handlers}


def _decoder(event_type: str, upcasters: Upcasters) -> _Decode:
    """How the payload of a stored event type is read."""
    if upcasters.touches(event_type):
        return lambda data: upcasters.decode(event_type, data)
    try:
        parse: _Decode = message_class(event_type).FromString
    except UnknownEventType as error:
        unknown = error

        def refuse(_: bytes) -> Message:
            raise unknown

        return refuse
    return parse
