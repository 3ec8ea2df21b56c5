"""Running schedules: one, many, or a failing one made shorter."""

from __future__ import annotations

import gc
import hashlib
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.simulation.schedule import Schedule, Step, generate
from tests.simulation.unchanging import read_once
from tests.simulation.world import World, world_of

_COLLECT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule under which eskit breaks a promise."""

    schedule: Schedule
    error: str
    trace: tuple[str, ...]

    @property
    def kind(self) -> str:
        """What it has in common with the same failure of a shorter schedule."""
        return self.error.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a schedule; `digest` is that of everything that happened."""

    digest: str
    failure: Failure | None = None


def run(schedule: Schedule, *, files: bool | None = None) -> Outcome:
    """Carry out a schedule, with read models in files of SQLite or in memory; see `world_of`."""
    with _quiet(), read_once(), world_of(schedule, files=files) as world:
        failure = _find_failure(schedule, world)
        digest = hashlib.sha256("\n".join(world.trace).encode()).hexdigest()
    return Outcome(digest, failure)


@contextmanager
def _quiet() -> Iterator[None]:
    """What eskit logs about the faults is meant, and shown nowhere."""
    log = logging.getLogger("eskit")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _find_failure(schedule: Schedule, world: World) -> Failure | None:
    try:
        for step in schedule.steps:
            world.do(step)
        world.settle()
    except Exception as error:  # noqa: BLE001 - whatever eskit raises here is a fault
        last = "".join(traceback.format_exception(error)[-12:])
        return Failure(schedule, f"{type(error).__name__}: {error}\n{last}", tuple(world.trace))
    return None


def shorten(failure: Failure, *, told: Callable[[str], None] = lambda _: None) -> Failure:
    """The same failure with fewer steps, as far as leaving out one after the other finds them."""
    shorter = True
    while shorter:
        shorter = False
        for candidate in _candidates(failure.schedule):
            found = run(candidate).failure
            if found is not None and found.kind == failure.kind:
                failure, shorter = found, True
                told(f"{len(failure.schedule.steps)} steps")
                break
    return failure


def _candidates(schedule: Schedule) -> list[Schedule]:
    steps = schedule.steps
    return [
        Schedule(schedule.seed, schedule.config, some)
        for some in (
            *(
                steps[:start] + steps[start + size :]
                for size in (8, 4, 2, 1)
                for start in range(0, len(steps), size)
                if size < len(steps)
            ),
            *(
                [*steps[:at], simpler, *steps[at + 1 :]]
                for at, step in enumerate(steps)
                for simpler in _simpler(step)
            ),
        )
    ]


def _simpler(step: Step) -> list[Step]:
    simpler = [
        replace(step, during=step.during[:at] + step.during[at + 1 :])
        for at in range(len(step.during))
    ]
    if step.crash is not None:
        simpler.append(replace(step, crash=None))
    return simpler


def run_seed(seed: int) -> Outcome:
    """Carry out the schedule of a seed."""
    return run(generate(seed))


def fails(seed: int) -> tuple[int, bool]:
    """The seed, and whether eskit breaks a promise under its schedule.

    Garbage is collected between schedules only: looking for it takes a tenth of the time.
    """
    gc.disable()
    if seed % _COLLECT_EVERY == 0:
        gc.collect()
        gc.freeze()
    return seed, run_seed(seed).failure is not None
