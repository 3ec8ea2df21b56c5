"""Deciding about events that a projection did not handle: look, handle them now, or never.

Each decision reads the state again inside its transaction and is refused when that is no longer
what was shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import InvalidArgument, NotFound, ProjectionBusy, StoreUnavailable
from eskit.projections import bookkeeping
from eskit.projections.checkpoints import check_version
from eskit.projections.control import deciding, record
from eskit.projections.effects import Effects
from eskit.projections.failures import describe, not_retried
from eskit.projections.handling import (
    HandlerRaised,
    Handling,
    ProjectionRun,
    find_handlers,
    handler_packages,
)
from eskit.projections.log import EventLog
from eskit.projections.port import ReadModel, ReadModels
from eskit.projections.projection import Projection
from eskit.projections.records import DeadLetterState, Failure, ProjectionDeadLetter, Skip
from eskit.projections.skips import failed_dead_letter


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """What retrying a dead letter did: how many events were handled, how many still wait."""

    name: str
    handled: int
    left: int


def list_dead_letters(models: ReadModels[Any], name: str) -> list[ProjectionDeadLetter]:
    """What waits for a decision, by position: dead letters, and the events that stopped it."""
    # A dead letter, or an event that stopped a run, may have stopped a rebuild as well.
    stopped = map(_stopped_dead_letter, reversed(bookkeeping.find_failures(models, name)))
    each = {
        letter.event_id: letter
        for letter in (*stopped, *bookkeeping.find_dead_letters(models, name))
    }
    return sorted(each.values(), key=lambda letter: letter.position)


def load_dead_letter(models: ReadModels[Any], name: str, event: str) -> ProjectionDeadLetter:
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
    models: ReadModels[Any],
    projection: Projection[Any],
    letter: ProjectionDeadLetter,
    *,
    upcasters: Upcasters,
    reason: str,
    by: str,
    clock: Clock = SYSTEM_CLOCK,
) -> RetryReport:
    """Handle a dead letter, then the events of its stream that wait behind it, in order.

    It is handled now, after later events of other streams. Raises ProjectionFailed, with the
    letter kept, when the handler does again.
    """
    name = projection.name
    if letter.state == "stopped":
        raise InvalidArgument(
            f"{letter.text} is no dead letter: projection {name!r} stopped before it",
            hint=f"Let it try again: eskit project run --once {name}",
        )
    if letter.state == "rebuild stopped":
        raise InvalidArgument(
            f"{letter.text} is no dead letter: the last rebuild of {name!r} stopped before it",
            hint=f"Rebuild it again: eskit project rebuild {name}",
        )
    retry_one = partial(
        _retry_one, log, models, projection, upcasters=upcasters, reason=reason, by=by, clock=clock
    )
    retry_one(letter)
    handled = 1
    while letter.holds_stream:
        following = _next_of_stream(bookkeeping.find_dead_letters(models, name), letter)
        if following is None:
            break
        retry_one(following)
        handled += 1
    _call_effects(models, projection, clock=clock)
    left = len(bookkeeping.find_dead_letters(models, name))
    return RetryReport(name=name, handled=handled, left=left)


def skip(
    models: ReadModels[Any],
    letter: ProjectionDeadLetter,
    *,
    reason: str,
    by: str,
    clock: Clock = SYSTEM_CLOCK,
) -> Skip:
    """Never handle an event in its projection, also not in a rebuild.

    Events that wait behind it stay until they are retried.
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
        decided_at=clock.now,
    )
    with deciding(models, name, reason) as (model, _):
        _check_unchanged(model, letter)
        bookkeeping.save_skip(model, decided)
        bookkeeping.delete_dead_letter(model, letter)
        for failure in bookkeeping.find_failures(model, name):
            if failure.position == letter.position:
                bookkeeping.clear_failures(model, name, failure.phase)
        record(model, name, "skip", letter.text, reason=reason, by=by, clock=clock)
    return decided


def _retry_one(
    log: EventLog,
    models: ReadModels[Any],
    projection: Projection[Any],
    letter: ProjectionDeadLetter,
    *,
    upcasters: Upcasters,
    reason: str,
    by: str,
    clock: Clock,
) -> None:
    """Handle one event in a transaction of its own."""
    name = projection.name
    event = _load_event(log, letter)
    run = ProjectionRun(projection, find_handlers(projection, upcasters), clock=clock)
    try:
        with deciding(models, name, reason) as (model, state):
            check_version(state, projection)
            _check_unchanged(model, letter)
            _refuse_overtaking(model, letter)
            handling = Handling(log, model, [run], upcasters=upcasters, effects=True, clock=clock)
            row = LogRow.of(event.row)
            if run.wants(row):
                handling.call([run], [row], seconds=float("inf"), singly=True)
            bookkeeping.delete_dead_letter(model, letter)
            record(model, name, "retry", letter.text, reason=reason, by=by, clock=clock)
    except HandlerRaised as raised:
        failure = describe(name, "run", event, raised.error, at=clock.now)
        _keep_failed(models, letter, failure, reason=reason, by=by, clock=clock)
        raise not_retried(name, event, raised.error) from raised.error


def _call_effects(models: ReadModels[Any], projection: Projection[Any], *, clock: Clock) -> None:
    """Call what the handlers wanted called, now that their rows are committed."""
    model = models.open()
    try:
        packages = handler_packages(projection.handlers.values())
        effects = Effects(model, projection.name, packages, clock=clock)
        effects.load()
        effects.call_due()
    finally:
        model.close()


def _keep_failed(
    models: ReadModels[Any],
    letter: ProjectionDeadLetter,
    failure: Failure,
    *,
    reason: str,
    by: str,
    clock: Clock,
) -> None:
    kept = failed_dead_letter(
        failure,
        tenant=letter.tenant,
        holds_stream=letter.holds_stream,
        attempts=letter.attempts + 1,
    )
    with deciding(models, letter.projection, reason) as (model, _):
        record(
            model, kept.projection, "retry failed", letter.text, reason=reason, by=by, clock=clock
        )
        for now in bookkeeping.find_dead_letters(model, kept.projection):
            if now.event_id == letter.event_id:
                bookkeeping.save_dead_letter(model, replace(kept, attempts=now.attempts + 1))
                return
        decided = [
            f"{decision.decided_by} has decided so: {decision.action}"
            for decision in bookkeeping.list_decisions(models, kept.projection)
            if decision.detail == letter.text and decision.action != "retry failed"
        ]
    raise ProjectionBusy(
        f"{letter.text} failed again: {failure.error}. It does not wait any more"
        + "".join(f"; {told}" for told in decided[-1:]),
        hint=f"See the decision: eskit deadletter list {kept.projection}",
    )


def _check_unchanged(model: ReadModel[Any], letter: ProjectionDeadLetter) -> None:
    """Refuse to act on something that is no longer as it was shown."""
    failures = [
        _stopped_dead_letter(failure)
        for failure in bookkeeping.find_failures(model, letter.projection)
    ]
    if letter not in [*failures, *bookkeeping.find_dead_letters(model, letter.projection)]:
        raise ProjectionBusy(
            f"{letter.text} in {letter.projection!r} has changed since it was looked at",
            hint=f"Look again: eskit deadletter list {letter.projection}",
        )


def _refuse_overtaking(model: ReadModel[Any], letter: ProjectionDeadLetter) -> None:
    for found in bookkeeping.find_dead_letters(model, letter.projection):
        if _same_stream(found, letter) and found.position < letter.position:
            raise InvalidArgument(
                f"{letter.text} is blocked by {found.position:,} of the same stream",
                hint="Retry that first: eskit deadletter retry "
                f"{letter.projection} {found.position}",
            )


def _next_of_stream(
    letters: list[ProjectionDeadLetter], letter: ProjectionDeadLetter
) -> ProjectionDeadLetter | None:
    behind = [
        found
        for found in letters
        if found.holds_stream and _same_stream(found, letter) and found.position > letter.position
    ]
    return min(behind, key=lambda found: found.position, default=None)


def _same_stream(one: ProjectionDeadLetter, other: ProjectionDeadLetter) -> bool:
    return (one.tenant, one.stream) == (other.tenant, other.stream)


def _load_event(log: EventLog, letter: ProjectionDeadLetter) -> RecordedEvent:
    event = log.find_event(letter.position)
    if event is None or event.event_id != letter.event_id:
        raise StoreUnavailable(
            f"The log has no event {letter.event_id} at {letter.position:,}",
            hint="Was the store restored or exchanged? Then rebuild the projection.",
        )
    return event


def _stopped_dead_letter(failure: Failure) -> ProjectionDeadLetter:
    state: DeadLetterState = "rebuild stopped" if failure.phase == "rebuild" else "stopped"
    return replace(
        failed_dead_letter(failure, tenant="", holds_stream=False, attempts=0), state=state
    )
