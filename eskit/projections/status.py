"""Where projections stand: position, lag, and what stopped them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from eskit.domain.upcasting import Upcasters
from eskit.errors import CheckpointMismatch, MigrationInvalid, RebuildNeeded
from eskit.projections.checkpoints import check_standing
from eskit.projections.effects import Effect
from eskit.projections.handling import subscribe
from eskit.projections.letters import Letter
from eskit.projections.log import EventLog
from eskit.projections.projection import Projection
from eskit.projections.readmodel import Failure, Phase, ReadModels, Standing

State: TypeAlias = Literal["idle", "running", "rebuilding", "paused", "failed"]

_STOPPED: Mapping[Phase, str] = {
    "run": "stopped",
    "retry": "trying again",
    "rebuild": "rebuild stopped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionStatus:
    """One projection at a glance.

    `lag` counts the events it handles that lie after `position`, `behind_seconds` is the age of
    the oldest of them. `error` is empty while nothing is wrong; `failures` has the events that
    stopped it, with tracebacks. `set_aside` counts the dead letters, `skipped` the events that are
    never handled because somebody has decided so. `rebuild_position` is how far a rebuild has
    come, running or interrupted, `pause` why it was paused. `holder` is the process that runs or
    rebuilds it, `rate` how many events a second it has just handled in a run, `outage` what it
    waits for, if that keeps it from going on. `version` is that of the code.
    """

    name: str
    state: State
    position: int
    head: int
    lag: int
    error: str
    version: int
    behind_seconds: float
    updated_at: datetime | None
    failures: tuple[Failure, ...]
    set_aside: int
    skipped: int
    rebuild_position: int | None
    pause: str
    holder: int | None
    rate: float
    outage: str


def load_status(
    log: EventLog, models: ReadModels, projection: Projection, upcasters: Upcasters
) -> ProjectionStatus:
    """Look a projection up; creates nothing and waits for nothing."""
    standing = models.find_standing(projection.name)
    failures = tuple(models.find_failures(projection.name))
    letters = models.find_letters(projection.name)
    aside = models.find_aside(projection.name)
    running = models.lock(projection.name, "run").find_holder()
    rebuilding = models.lock(projection.name, "rebuild").find_holder()
    position = standing.mark.position if standing else 0
    types = subscribe(projection, upcasters).event_types
    outage = running.outage if running else ""
    error = (
        (outage and f"waiting: {outage}")
        or _find_error(log, models, projection, standing, failures)
        or _find_waiting(letters, models.find_effects(projection.name))
    )
    state: State = "idle"
    if rebuilding:
        state = "rebuilding"
    elif error:
        state = "failed"
    elif standing and standing.pause is not None:
        state = "paused"
    elif running:
        state = "running"
    holder = rebuilding or running
    return ProjectionStatus(
        name=projection.name,
        state=state,
        position=position,
        head=log.head_position(),
        lag=log.count_events(after=position, event_types=types) if types else 0,
        error=error,
        version=projection.version,
        behind_seconds=_age_of_next(log, types, position, models.clock.now),
        updated_at=standing.updated_at if standing else None,
        failures=failures,
        set_aside=len(letters),
        skipped=len(models.find_skips(projection.name)),
        rebuild_position=aside.mark.position if aside else None,
        pause=(standing.pause or "") if standing else "",
        holder=holder.pid if holder else None,
        rate=running.rate if running else 0.0,
        outage=outage,
    )


def _find_error(
    log: EventLog,
    models: ReadModels,
    projection: Projection,
    standing: Standing | None,
    failures: tuple[Failure, ...],
) -> str:
    if failures:
        failure = failures[0]
        what = _STOPPED[failure.phase]
        return f"{what} before {failure.position:,}: {failure.error}"
    if standing is None:
        return ""
    try:
        check_standing(standing, log)
    except CheckpointMismatch as error:
        return error.message
    if standing.mark.position and standing.version != projection.version:
        return (
            f"needs a rebuild: its rows are of version {standing.version}, "
            f"the code is version {projection.version}"
        )
    try:
        models.check(projection)
    except (RebuildNeeded, MigrationInvalid) as error:
        return error.message
    return ""


def _find_waiting(letters: Sequence[Letter], effects: Sequence[Effect]) -> str:
    if letters:
        failed = sum(letter.state == "failed" for letter in letters)
        behind = len(letters) - failed
        waiting = f" and {behind:,} waiting behind" if behind else ""
        return f"{failed:,} set aside{waiting}, the first at {letters[0].position:,}"
    for effect in effects:
        if effect.error:
            return f"{effect.name} of event {effect.position:,} fails: {effect.error}"
    return ""


def _age_of_next(log: EventLog, types: tuple[str, ...], position: int, now: datetime) -> float:
    if types:
        for event in log.read_all(after=position, limit=1, event_types=types):
            return max(0.0, (now - event.recorded_at).total_seconds())
    return 0.0
