"""Deciding about events that a projection did not handle: look, handle them now, or never.

Each decision reads the state again inside its transaction and is refused when that is no longer
what was shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import InvalidArgument, NotFound, ProjectionBusy, StoreUnavailable
from eskit.projections.checkpoints import check_version
from eskit.projections.control import deciding, record
from eskit.projections.effects import Effects
from eskit.projections.failures import describe, not_retried, refuse_outage
from eskit.projections.handling import (
    HandlerRaised,
    build_dispatch,
    handle_all,
    handler_packages,
    subscribe,
)
from eskit.projections.log import EventLog
from eskit.projections.lookup import EventLookup
from eskit.projections.port import LiveReadModel, ReadModel, ReadModels
from eskit.projections.projection import EventContext, Projection
from eskit.projections.records import DeadLetter, DeadLetterState, Failure, Skip
from eskit.projections.skips import failed_letter


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """What retrying a dead letter did: how many events were handled, how many still wait."""

    name: str
    handled: int
    left: int


def list_dead_letters(models: ReadModels, name: str) -> list[DeadLetter]:
    """What waits for a decision, by position: dead letters, and the events that stopped it."""
    # An event that was set aside, or stopped a run, may have stopped a rebuild as well.
    stopped = map(_stopped_letter, reversed(models.find_failures(name)))
    each = {letter.event_id: letter for letter in (*stopped, *models.find_dead_letters(name))}
    return sorted(each.values(), key=lambda letter: letter.position)


def load_dead_letter(models: ReadModels, name: str, event: str) -> DeadLetter:
    """The letter of an event, by its position or id; NotFound if it does not wait."""
    for letter in list_dead_letters(models, name):
        if event.replace(",", "") == str(letter.position) or event == letter.event_id:
            return letter
    raise NotFound(
        f"No event {event!r} waits for a decision in projection {name!r}",
        hint=f"Name one by its position or id: eskit deadletter list {name}",
    )


def retry(
    log: EventLog,
    models: ReadModels,
    projection: Projection,
    letter: DeadLetter,
    *,
    upcasters: Upcasters,
    reason: str,
    by: str,
) -> RetryReport:
    """Handle an event that was set aside, then those of its stream that wait behind it, in order.

    It is handled now, after later events of other streams. Raises ProjectionFailed, with the
    letter kept, when the handler does again.
    """
    name = projection.name
    if letter.state == "stopped":
        raise InvalidArgument(
            f"{letter.text} is not set aside: projection {name!r} stands before it",
            hint=f"Let it try again: eskit project run --once {name}",
        )
    if letter.state == "rebuild stopped":
        raise InvalidArgument(
            f"{letter.text} is not set aside: the last rebuild of {name!r} stopped before it",
            hint=f"Rebuild it again: eskit project rebuild {name}",
        )
    _retry_one(log, models, projection, letter, upcasters, reason=reason, by=by)
    handled = 1
    while letter.holds_stream:
        following = _next_of_stream(models.find_dead_letters(name), letter)
        if following is None:
            break
        _retry_one(log, models, projection, following, upcasters, reason=reason, by=by)
        handled += 1
    _call_effects(models, projection)
    return RetryReport(name=name, handled=handled, left=len(models.find_dead_letters(name)))


def skip(models: ReadModels, letter: DeadLetter, *, reason: str, by: str) -> Skip:
    """Never handle an event in its projection, also not in a rebuild.

    What waits behind it goes on waiting until it is retried.
    """
    name = letter.projection
    decided = Skip(
        projection=name,
        position=letter.position,
        event_id=letter.event_id,
        event_type=letter.event_type,
        stream=letter.stream,
        reason=reason,
        decided_by=by,
        decided_at=models.clock.now,
    )
    with deciding(models, name, reason) as (model, _):
        _check_unchanged(model, letter)
        model.save_skip(decided)
        model.delete_dead_letter(name, letter.position)
        for failure in model.find_failures(name):
            if failure.position == letter.position:
                model.clear_failure(name, failure.phase)
        record(model, name, "skip", letter.text, reason=reason, by=by)
    return decided


def _retry_one(
    log: EventLog,
    models: ReadModels,
    projection: Projection,
    letter: DeadLetter,
    upcasters: Upcasters,
    *,
    reason: str,
    by: str,
) -> None:
    """Handle one event in a transaction of its own."""
    name = projection.name
    event = _load_event(log, letter)
    subscription = subscribe(projection, upcasters)
    try:
        with deciding(models, name, reason) as (model, state):
            check_version(state, projection)
            _check_unchanged(model, letter)
            _refuse_overtaking(model, letter)
            effects = Effects(model, name, handler_packages(subscription.handlers.values()))
            lookup = EventLookup(log, [event.event_type])
            context = EventContext(model.db, lookup.load, effects)
            if event.event_type in subscription.handlers:
                dispatch = build_dispatch([(subscription, context)], upcasters)
                with _named_outage(model):
                    handle_all(dispatch, [LogRow.of(event.row)], lookup, seconds=float("inf"))
            model.delete_dead_letter(name, letter.position)
            record(model, name, "retry", letter.text, reason=reason, by=by)
    except HandlerRaised as raised:
        failure = describe(name, "run", event, raised.error, at=models.clock.now)
        _keep_failed(models, letter, failure, reason=reason, by=by)
        raise not_retried(name, event, raised.error) from raised.error


def _call_effects(models: ReadModels, projection: Projection) -> None:
    """Call what the handlers wanted called, now that their rows are committed."""
    model = models.open()
    try:
        effects = Effects(model, projection.name, handler_packages(projection.handlers.values()))
        effects.load()
        effects.call_due()
    finally:
        model.close()


@contextmanager
def _named_outage(model: ReadModel) -> Iterator[None]:
    try:
        yield
    except HandlerRaised as raised:
        refuse_outage(model, raised)
        raise


def _keep_failed(
    models: ReadModels, letter: DeadLetter, failure: Failure, *, reason: str, by: str
) -> None:
    kept = failed_letter(
        failure,
        tenant=letter.tenant,
        holds_stream=letter.holds_stream,
        attempts=letter.attempts + 1,
    )
    with deciding(models, letter.projection, reason) as (model, _):
        record(model, kept.projection, "retry failed", letter.text, reason=reason, by=by)
        for now in model.find_dead_letters(kept.projection):
            if now.event_id == letter.event_id:
                model.save_dead_letter(replace(kept, attempts=now.attempts + 1))
                return
        decided = [
            f"{decision.decided_by} has decided so: {decision.action}"
            for decision in models.list_decisions(kept.projection)
            if decision.detail == letter.text and decision.action != "retry failed"
        ]
    raise ProjectionBusy(
        f"{letter.text} failed again: {failure.error}. It does not wait any more"
        + "".join(f"; {told}" for told in decided[-1:]),
        hint=f"See what is decided: eskit deadletter list {kept.projection}",
    )


def _check_unchanged(model: LiveReadModel, letter: DeadLetter) -> None:
    """Refuse to act on something that is no longer as it was shown."""
    failures = [_stopped_letter(failure) for failure in model.find_failures(letter.projection)]
    if letter not in [*failures, *model.find_dead_letters(letter.projection)]:
        raise ProjectionBusy(
            f"{letter.text} in {letter.projection!r} has changed since it was looked at",
            hint=f"Look again: eskit deadletter list {letter.projection}",
        )


def _refuse_overtaking(model: LiveReadModel, letter: DeadLetter) -> None:
    for found in model.find_dead_letters(letter.projection):
        if _same_stream(found, letter) and found.position < letter.position:
            raise InvalidArgument(
                f"{letter.text} is blocked by {found.position:,} of the same stream",
                hint="Retry that first: eskit deadletter retry "
                f"{letter.projection} {found.position}",
            )


def _next_of_stream(letters: list[DeadLetter], letter: DeadLetter) -> DeadLetter | None:
    behind = [
        found
        for found in letters
        if found.holds_stream and _same_stream(found, letter) and found.position > letter.position
    ]
    return min(behind, key=lambda found: found.position, default=None)


def _same_stream(one: DeadLetter, other: DeadLetter) -> bool:
    return (one.tenant, one.stream) == (other.tenant, other.stream)


def _load_event(log: EventLog, letter: DeadLetter) -> RecordedEvent:
    event = log.find_event(letter.position)
    if event is None or event.event_id != letter.event_id:
        raise StoreUnavailable(
            f"The log has no event {letter.event_id} at {letter.position:,}",
            hint="Was the store restored or exchanged? Then rebuild the projection.",
        )
    return event


def _stopped_letter(failure: Failure) -> DeadLetter:
    state: DeadLetterState = "rebuild stopped" if failure.phase == "rebuild" else "stopped"
    return replace(failed_letter(failure, tenant="", holds_stream=False, attempts=0), state=state)
