"""eskit keeps its promises under schedules of faults that a seed draws; see README.md here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.schedule import Schedule, generate
from tests.simulation.simulate import run

CHECKOUT = Path(__file__).parents[2]
FOUND = sorted((Path(__file__).parent / "found").glob("*.json"))


def simulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.promise("faults-break-no-promise")
def test_every_promise_is_kept_under_many_schedules():
    schedules = os.environ.get("ESKIT_TEST_SCHEDULES", "300")

    ended = simulate("--schedules", schedules)

    print(ended.stdout)  # noqa: T201 - the rate, or the schedule that fails
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_schedule_that_once_found_a_fault_finds_none(path):
    assert run(Schedule.load(path.read_text(encoding="utf-8"))).failure is None


def test_a_seed_gives_the_same_run_in_every_process():
    runs = {simulate("--seed", "7", PYTHONHASHSEED=str(seed)).stdout for seed in (1, 2)}

    assert len(runs) == 1
    assert "every promise was kept" in runs.pop()


def test_a_schedule_is_the_same_when_it_was_printed_and_read():
    for seed in range(20):
        schedule = generate(seed)

        assert Schedule.load(schedule.dump()) == schedule
