"""Comparing live rows with what their events make today: the detector of drift."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eskit.domain.ids import new_id
from eskit.domain.upcasting import Upcasters
from eskit.errors import ProjectionBusy, ReadModelUnavailable
from eskit.projections.batches import BatchLimits
from eskit.projections.checkpoints import check_checkpoint, check_version
from eskit.projections.differences import ProjectionDifference
from eskit.projections.failures import refuse_outage, stopped_before
from eskit.projections.follower import Follower
from eskit.projections.handling import HandlerRaised, build_dispatch, handle_filtered, subscribe
from eskit.projections.log import EventLog
from eskit.projections.lookup import EventLookup
from eskit.projections.member import Member
from eskit.projections.port import ReadModels, ShadowReadModel
from eskit.projections.progress import ReportProgress
from eskit.projections.projection import EventContext, Projection
from eskit.projections.records import ProjectionState, Skip
from eskit.projections.skips import load_skip_filter, skip_all
from eskit.slow import SlowCalls


def compare_with_live(
    log: EventLog,
    models: ReadModels,
    projection: Projection,
    *,
    upcasters: Upcasters,
    examples: int,
    progress: ReportProgress | None,
    slow: SlowCalls | None = None,
) -> ProjectionDifference:
    """Build aside up to where the live rows stand, then compare; the caller holds the lock."""
    state = _load_state(models.find_state(projection.name), projection)
    check_checkpoint(state, log)
    passed = _find_passed(models, projection.name)
    with _open_shadow(models, log, projection) as shadow:
        skip_all(shadow, passed)
        follower = Follower(
            log,
            shadow,
            [projection],
            upcasters=upcasters,
            work="diff",
            limits=BatchLimits(events=5_000, seconds=1.0),
            progress=progress,
            slow=slow,
        )
        built = _build(follower, until=state.checkpoint.position)
        with shadow.transaction():
            _refuse_changed(projection.name, passed, _find_passed(models, projection.name))
            now = _load_state(shadow.find_live_state(projection.name), projection)
            late = _handle_late(
                log,
                shadow,
                projection,
                upcasters,
                built.checkpoint.position,
                now.checkpoint.position,
            )
            tables = shadow.compare(projection.name, examples=examples)
    return ProjectionDifference(
        name=projection.name,
        position=now.checkpoint.position,
        events=built.events + late,
        tables=tuple(tables),
        passed_over=tuple(skip.position for skip in passed),
    )


def _find_passed(models: ReadModels, name: str) -> list[Skip]:
    """What the live rows lack by decision: events skipped or set aside."""
    letters = [
        Skip(
            projection=name,
            position=letter.position,
            event_id=letter.event_id,
            event_type=letter.event_type,
            stream=letter.stream,
            reason="set aside",
            decided_by="",
            decided_at=letter.since,
        )
        for letter in models.find_dead_letters(name)
    ]
    return sorted([*models.find_skips(name), *letters], key=lambda skip: skip.position)


def _refuse_changed(name: str, before: list[Skip], now: list[Skip]) -> None:
    if [skip.event_id for skip in before] != [skip.event_id for skip in now]:
        raise ProjectionBusy(
            f"Events of {name!r} were set aside or decided about meanwhile",
            hint=f"Compare again: eskit project diff {name}",
        )


@contextmanager
def _open_shadow(
    models: ReadModels, log: EventLog, projection: Projection
) -> Iterator[ShadowReadModel]:
    """An empty read model beside the live one, deleted in the end."""
    live = models.open()
    try:
        shadow = live.open_shadow(projection, "diff", fingerprint=new_id(), store_id=log.store_id)
        try:
            yield shadow
        finally:
            shadow.close()
            live.discard_shadow(projection.name, "diff")
    finally:
        live.close()


def _build(follower: Follower, *, until: int) -> Member:
    follower.start()
    while follower.step(until):
        pass
    (member,) = follower.members
    if member.stopped is not None:
        raise member.stopped
    return member


def _handle_late(
    log: EventLog,
    shadow: ShadowReadModel,
    projection: Projection,
    upcasters: Upcasters,
    after: int,
    until: int,
) -> int:
    """Handle what the live rows have seen since the build began; how many events that was."""
    subscription = subscribe(projection, upcasters)
    if after >= until or not subscription.event_types:
        return 0
    events = list(
        log.read_log_rows(after=after, before=until + 1, event_types=subscription.event_types)
    )
    lookup = EventLookup(log, subscription.event_types)
    context = EventContext(shadow.db, lookup.load)
    context.skip_filter = load_skip_filter(shadow, projection.name)
    dispatch = build_dispatch([(subscription, context)], upcasters)
    try:
        return handle_filtered(dispatch, events, lookup, seconds=float("inf"))
    except HandlerRaised as raised:
        refuse_outage(shadow, raised)
        raise stopped_before(projection.name, "diff", raised.event, raised.error) from raised.error


def _load_state(state: ProjectionState | None, projection: Projection) -> ProjectionState:
    if state is None:
        raise ReadModelUnavailable(
            f"Projection {projection.name!r} has no rows to compare yet",
            hint=f"Make them: eskit project run {projection.name}",
        )
    check_version(state, projection)
    return state
