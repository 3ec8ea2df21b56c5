"""Comparing live rows with what their events make today: the detector of drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.upcasting import Upcasters
from eskit.errors import ProjectionBusy, ReadModelUnavailable
from eskit.projections import bookkeeping
from eskit.projections.checkpoints import check_checkpoint, check_version
from eskit.projections.differences import ProjectionDifference
from eskit.projections.following import BatchLimits, Following
from eskit.projections.handling import ProjectionRun, find_handlers
from eskit.projections.log import EventLog
from eskit.projections.port import LiveReadModel, Records
from eskit.projections.progress import ReportProjectionProgress
from eskit.projections.projection import Projection
from eskit.projections.rebuild import open_shadow
from eskit.projections.records import ProjectionState, Skip
from eskit.slow import SlowCalls

_REORDERING = {"retry", "retry failed", "set checkpoint"}


def compare_with_live(
    log: EventLog,
    live: LiveReadModel[Any],
    projection: Projection[Any],
    *,
    upcasters: Upcasters,
    examples: int,
    progress: ReportProjectionProgress | None,
    clock: Clock = SYSTEM_CLOCK,
    slow: SlowCalls | None = None,
) -> ProjectionDifference:
    """Build shadow rows up to where the live ones are, then compare; the caller holds the lock."""
    name = projection.name
    state = load_state(live, projection)
    check_checkpoint(state, log)
    passed_over = _find_passed_over(live, name)
    run = ProjectionRun(projection, find_handlers(projection, upcasters), clock=clock)
    shadow = open_shadow(live, name, "diff", skips=passed_over)
    try:
        following = Following(
            log,
            shadow,
            [run],
            upcasters=upcasters,
            clock=clock,
            work="diff",
            limits=BatchLimits(events=5_000, seconds=1.0),
            progress=progress,
            slow=slow,
        )
        following.start()
        following.run_up_to(state.checkpoint.position)
        with shadow.transaction():
            # Inside the transaction the live rows stand still.
            _refuse_changed(name, passed_over, _find_passed_over(shadow.live, name))
            now = load_state(shadow.live, projection)
            following.run_up_to(now.checkpoint.position)
            in_order = not _were_reordered(shadow.live, name)
            tables = shadow.compare(name, examples=examples, in_order=in_order)
    finally:
        shadow.close()
        live.discard_shadow(name, "diff")
    return ProjectionDifference(
        name=name,
        position=now.checkpoint.position,
        events=run.events,
        tables=tuple(tables),
        passed_over=tuple(skip.position for skip in passed_over),
    )


def load_state(kept: Records, projection: Projection[Any]) -> ProjectionState:
    """Where the rows are; raises if there are none, or if another version made them."""
    state = bookkeeping.find_state(kept, projection.name)
    if state is None:
        raise ReadModelUnavailable(
            f"Projection {projection.name!r} has no rows to compare yet",
            hint=f"Make them: eskit project run {projection.name}",
        )
    check_version(state, projection)
    return state


def _find_passed_over(kept: Records, name: str) -> list[Skip]:
    """What the live rows lack by decision: skipped events and dead letters."""
    letters = [
        Skip(
            projection=name,
            position=letter.position,
            event_id=letter.event_id,
            event_type=letter.event_type,
            stream=letter.stream,
            reason="dead letter",
            decided_by="",
            decided_at=letter.since,
        )
        for letter in bookkeeping.find_dead_letters(kept, name)
    ]
    return sorted([*bookkeeping.find_skips(kept, name), *letters], key=lambda skip: skip.position)


def _refuse_changed(name: str, before: Sequence[Skip], now: Sequence[Skip]) -> None:
    if [skip.event_id for skip in before] != [skip.event_id for skip in now]:
        raise ProjectionBusy(
            f"Dead letters or skips of {name!r} changed during the comparison",
            hint=f"Compare again: eskit project diff {name}",
        )


def _were_reordered(kept: Records, name: str) -> bool:
    """Whether events were handled out of their order since the rows were begun."""
    begun = max((at.applied_at for at in bookkeeping.find_migrations(kept, name)), default=None)
    return any(
        decision.action in _REORDERING and (begun is None or decision.decided_at > begun)
        for decision in bookkeeping.list_decisions(kept, name)
    )
