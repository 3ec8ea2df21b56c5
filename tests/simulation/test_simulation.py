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
_WAITS_FOR_A_LOCK = 889
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


@pytest.mark.parametrize("files", [True, False], ids=["files", "memory"])
@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_a_schedule_that_once_found_a_fault_finds_none(path, files):
    assert run(Schedule.load(path.read_text(encoding="utf-8")), files=files).failure is None


def test_a_schedule_runs_alike_with_rows_in_files_of_sqlite_and_in_memory():
    schedules = [generate(seed) for seed in (*range(100, 124), _WAITS_FOR_A_LOCK)]
    # A store in a file goes by the times that the file system notes: they are not of the world.
    for schedule in (found for found in schedules if found.config["store"] == "memory"):
        in_files, in_memory = (run(schedule, files=files) for files in (True, False))

        assert in_files == in_memory, f"seed {schedule.seed}"


def test_a_seed_gives_the_same_run_in_every_process():
    runs = {simulate("--seed", "7", PYTHONHASHSEED=str(seed)).stdout for seed in (1, 2)}

    assert len(runs) == 1
    assert "every promise was kept" in runs.pop()


def test_a_schedule_is_the_same_when_it_was_printed_and_read():
    for seed in range(20):
        schedule = generate(seed)

        assert Schedule.load(schedule.dump()) == schedule
