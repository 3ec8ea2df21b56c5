"""``python -m tests.simulation --schedules 2000``: run many schedules, or one again."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.simulation.schedule import Schedule, generate
from tests.simulation.simulate import Failure, fails, run, run_seed, shorten

_AT_ONCE = 25
_ENOUGH = 3


def main() -> int:
    """0 if eskit keeps its promises under every schedule, 1 if not."""
    options = _options()
    if options.replay is not None:
        text = sys.stdin.read() if str(options.replay) == "-" else options.replay.read_text()
        return _run_one(Schedule.load(text), short=False)
    if options.seed is not None:
        return _run_one(generate(options.seed), short=options.short)
    seeds = range(options.first, options.first + options.schedules)
    return _run_many(seeds, options.jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=2000, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    parser.add_argument("--seed", type=int, help="run this one, and show what happens")
    parser.add_argument("--short", action="store_true", help="make it shorter if it fails")
    parser.add_argument("--replay", type=Path, help="run a schedule from a file, - for stdin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args()


def _run_one(schedule: Schedule, *, short: bool) -> int:
    outcome = run(schedule)
    failure = outcome.failure
    if failure is None:
        print(f"Seed {schedule.seed}: every promise was kept. {outcome.digest[:16]}")
        return 0
    if short:
        failure = shorten(failure, told=lambda text: print(f"It still fails with {text}"))
    _show(failure)
    return 1


def _run_many(seeds: range, jobs: int) -> int:
    begun = time.monotonic()
    done, failed = 0, []
    for seed, failing in _outcomes(seeds, jobs):
        done += 1
        if failing:
            failed.append(seed)
            print(f"Seed {seed} fails", flush=True)
        if len(failed) == _ENOUGH:
            break
        if done % 10_000 == 0:
            print(f"{done:,} schedules, {_rate(done, begun)}", flush=True)
    print(f"{done:,} schedules, {len(failed)} failed, {_rate(done, begun)}", flush=True)
    if not failed:
        return 0
    failure = run_seed(failed[0]).failure
    if failure is not None:
        _show(shorten(failure))
    else:
        print(f"Seed {failed[0]} does not fail again: something here does not depend on the seed")
    return 1


def _rate(done: int, begun: float) -> str:
    seconds = time.monotonic() - begun
    return f"{done / seconds:,.1f} a second, {seconds:,.1f} s"


def _outcomes(seeds: range, jobs: int) -> Iterator[tuple[int, bool]]:
    if jobs == 1:
        yield from map(fails, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(fails, seeds, chunksize=_AT_ONCE)


def _show(failure: Failure) -> None:
    def show(lines: Iterable[str]) -> None:
        for line in lines:
            print(line)

    print(f"\nSeed {failure.schedule.seed}: {failure.error}")
    print("What happened:")
    show(failure.trace)
    print("\nThe schedule, for --replay:")
    print(failure.schedule.dump())


if __name__ == "__main__":
    sys.exit(main())
