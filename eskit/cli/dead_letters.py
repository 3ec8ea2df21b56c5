"""The dead letters of projections and of subscriptions, found and decided about in one way."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from eskit.cli.engines import open_engine
from eskit.cli.session import Session
from eskit.cli.terminal.text import Line
from eskit.errors import (
    Diagnostic,
    InvalidArgument,
    MessagingError,
    ProjectionError,
)
from eskit.reports.dead_letters import (
    DeadLetterEntry,
    dead_letter_entry,
    skip_entry,
    subscription_entry,
)
from eskit.text.quantities import count
from eskit.text.suggestions import suggestion

if TYPE_CHECKING:
    from eskit.app import App
    from eskit.messaging.dead_letters import DeadLetters
    from eskit.messaging.subscription import DeadLetter, EventHandler
    from eskit.projections.engine import ProjectionEngine
    from eskit.projections.records import ProjectionDeadLetter
    from eskit.store.eventstore import EventStore

Result = TypeVar("Result")
Kept: TypeAlias = Callable[[Callable[["DeadLetters"], Awaitable[Any]]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionOutcome:
    """What a decision came to, for --json and for people."""

    data: object
    lines: list[Line]


class UndecidedEvent(Protocol):
    """An event that waits for a decision."""

    @property
    def entry(self) -> DeadLetterEntry:
        """How it is shown."""
        ...

    def retry(self, *, reason: str, by: str) -> DecisionOutcome:
        """Handle it now, unless it is not any more what was found."""
        ...

    def skip(self, *, reason: str, by: str) -> DecisionOutcome:
        """Never handle it, unless it is not any more what was found."""
        ...


@contextmanager
def find_waiting(
    session: Session, name: str, event: str, *, retry: bool = False
) -> Iterator[UndecidedEvent]:
    """What waits in a projection or subscription, by the event's position or id.

    Raises PROJECTION_NOT_FOUND for an unknown name, NotFound for an event that does not wait, and
    with `retry` InvalidArgument for a subscription whose handler is not here.
    """
    app = session.load_app()
    if name in _projections(app):
        with open_engine(session) as engine:
            yield WaitingInProjection(engine, engine.load_dead_letter(name, event))
        return
    reaction = next((found for found in app.reactions if found.name == name), None)
    if reaction is None:
        with _kept_letters(session, app, name) as kept:
            letter = kept(lambda letters: letters.load(name, event))
            if retry:
                raise _not_here(name)
            yield WaitingInSubscription(letter, kept)
        return
    with session.open_app(create=False) as running:
        kept = functools.partial(_in_store, running.store)
        letter = kept(lambda letters: letters.load(name, event))
        handler = functools.partial(running.react, reaction)
        yield WaitingInSubscription(letter, kept, handler=handler)


def list_entries(session: Session, name: str) -> tuple[list[DeadLetterEntry], list[Diagnostic]]:
    """What waits, then what is skipped, of all or of one; and what could not be looked at."""
    app = session.load_app()
    names = _projections(app)
    found: list[DeadLetterEntry] = []
    problems: list[Diagnostic] = []
    if not name or name in names:
        with open_engine(session) as engine:
            for each in [name] if name else names:
                found += map(dead_letter_entry, engine.dead_letters(each))
                found += map(skip_entry, engine.skips(each))
    kept: list[DeadLetter] = []
    of_log = [reaction.name for reaction in app.reactions]
    if name in of_log or session.store_exists():
        with session.open_store() as store:
            of_log += _others(app, store)
            kept += _in_store(store, lambda letters: _look(letters, [name] if name else None))
    if name in (*names, *of_log):
        return _in_order(found, kept), problems
    if name:
        _check_subscription(session, app, name)
    if name or session.has_used_nats():
        try:
            others = _in_nats(session, lambda letters: _look(letters, [name] if name else None))
            kept += [each for each in others if each.subscription not in of_log]
        except MessagingError as error:
            if name:
                raise
            problems.append(_not_looked_at(error))
    return _in_order(found, kept), problems


@contextmanager
def _kept_letters(session: Session, app: App, name: str) -> Iterator[Kept]:
    """The dead letters where a subscription of another program keeps them."""
    if session.store_exists():
        with session.open_store() as store:
            if name in _others(app, store):
                yield functools.partial(_in_store, store)
                return
    _check_subscription(session, app, name)
    yield functools.partial(_in_nats, session)


def _in_order(
    entries: Sequence[DeadLetterEntry], letters: Sequence[DeadLetter]
) -> list[DeadLetterEntry]:
    """What waits, then what is skipped: that of projections, then that of subscriptions."""
    waiting = [
        subscription_entry(letter, reaction=False)
        for letter in sorted(letters, key=lambda letter: letter.subscription)
        if letter.decision is None or letter.skipped
    ]
    return sorted([*entries, *waiting], key=lambda entry: entry.state == "skipped")


class WaitingInProjection:
    """See Waiting."""

    def __init__(self, engine: ProjectionEngine, letter: ProjectionDeadLetter) -> None:
        self.entry = dead_letter_entry(letter)
        self._engine, self._letter = engine, letter

    def retry(self, *, reason: str, by: str) -> DecisionOutcome:
        """See Waiting; then those of its stream that wait behind it."""
        done = self._engine.retry_dead_letter(self._letter, reason=reason, by=by)
        return DecisionOutcome(
            data=asdict(done), lines=[_handled(done.name, done.handled, done.left)]
        )

    def skip(self, *, reason: str, by: str) -> DecisionOutcome:
        """See Waiting."""
        name = self._letter.projection
        decided = self._engine.skip_event(self._letter, reason=reason, by=by)
        lines: list[Line] = [[(name, "name"), f"  skips {decided.text}"]]
        left = self._engine.dead_letters(name)
        behind = next((found for found in left if found.state == "waiting"), None)
        if self._letter.state == "stopped":
            command = f"eskit project run {name}"
            lines.append(
                ["A process that runs it resumes automatically. Else: ", (command, "command")]
            )
        elif self._letter.state == "rebuild stopped":
            lines.append(["Rebuild it again: ", (f"eskit project rebuild {name}", "command")])
        elif behind is not None:
            command = f"eskit deadletter retry {name} {behind.position}"
            lines.append(["Handle the events that it blocked: ", (command, "command")])
        return DecisionOutcome(data=skip_entry(decided).data, lines=lines)


class WaitingInSubscription:
    """See Waiting. Its `handler` is known here only where the subscription is a reaction.

    `kept` does some work on the dead letters where they are kept.
    """

    def __init__(
        self, letter: DeadLetter, kept: Kept, *, handler: EventHandler | None = None
    ) -> None:
        self.entry = subscription_entry(letter, reaction=handler is not None)
        self._letter, self._kept, self._handler = letter, kept, handler

    def retry(self, *, reason: str, by: str) -> DecisionOutcome:
        """See Waiting. Raises DeliveryFailed when the handler raises again."""
        letter, handler = self._letter, self._handler
        name = letter.subscription
        if handler is None:
            raise _not_here(name)

        async def retry_one(letters: DeadLetters) -> int:
            await letters.retry(letter, handler, reason=reason, by=by)
            return len(await letters.waiting(name))

        left: int = self._kept(retry_one)
        return DecisionOutcome(
            data={"name": name, "handled": 1, "left": left}, lines=[_handled(name, 1, left)]
        )

    def skip(self, *, reason: str, by: str) -> DecisionOutcome:
        """See Waiting."""
        letter = self._letter
        decided = self._kept(lambda letters: letters.skip(letter, reason=reason, by=by))
        return DecisionOutcome(
            data=subscription_entry(decided, reaction=False).data,
            lines=[[(letter.subscription, "name"), f"  skips {letter.text}"]],
        )


def _projections(app: App) -> list[str]:
    return [projection.name for projection in app.projections]


def _others(app: App, store: EventStore) -> list[str]:
    """The subscriptions of other programs that keep their progress with the log."""
    from eskit.messaging.followers import find_others

    reactions = [reaction.name for reaction in app.reactions]
    return [subscription.name for subscription in find_others(store, reactions)]


def _check_subscription(session: Session, app: App, name: str) -> None:
    """Raise PROJECTION_NOT_FOUND unless there is a subscription of that name."""
    known = [*_projections(app), *(reaction.name for reaction in app.reactions)]
    if session.find_nats() is not None:
        known += _in_nats(session, lambda letters: letters.names())
    if name not in known:
        raise ProjectionError(
            f"No projection or subscription {name!r}",
            code="PROJECTION_NOT_FOUND",
            hint=suggestion(name, known, "They are"),
        )


async def _look(letters: DeadLetters, names: Sequence[str] | None) -> list[DeadLetter]:
    """Every dead letter there was, in some subscriptions or in all of them."""
    chosen = await letters.names() if names is None else names
    return [letter for each in chosen for letter in await letters.history(each)]


def _in_store(store: EventStore, work: Callable[[DeadLetters], Awaitable[Result]]) -> Result:
    """Work on the dead letters that are kept with the log."""
    from eskit.messaging.subscriptions_store import store_bus

    async def run() -> Result:
        return await work(store_bus(store).dead_letters)

    return asyncio.run(run())


def _in_nats(session: Session, work: Callable[[DeadLetters], Awaitable[Result]]) -> Result:
    """Work on the dead letters that the project's subscriptions keep in NATS."""
    from eskit.messaging.dead_letters import DeadLetters
    from eskit.messaging.subscriptions_nats import KeyValueSubscriptions

    return session.in_nats(
        "eskit deadletter",
        lambda connection, names: work(
            DeadLetters(KeyValueSubscriptions(connection, scope=names.stream))
        ),
    )


def _handled(name: str, handled: int, left: int) -> Line:
    return [
        (name, "name"),
        f"  {count(handled, 'event')} handled, {count(left, 'dead letter')} left",
    ]


def _not_here(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"Subscription {name!r} is no reaction of this app: its handler is not here",
        hint="Retry it in the program that subscribes: bus.dead_letters.retry(letter, handler)",
    )


def _not_looked_at(error: MessagingError) -> Diagnostic:
    return Diagnostic(
        severity="warning",
        code="SUBSCRIPTIONS_NOT_LISTED",
        message=f"Dead letters of subscriptions were not looked at: {error.message}",
        hint=error.hint,
    )
