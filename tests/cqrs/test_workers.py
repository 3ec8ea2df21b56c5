"""Threads that work for an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from eskit.cqrs.workers import Job, Workers


def nothing() -> None:
    """For work after which nothing has to happen."""


def answers(function: Callable[..., Any]) -> Callable[..., None]:
    """A job that is answered with what `function` returns."""

    def work(job: Job, *arguments: Any) -> None:
        job.answer(function(*arguments))

    return work


async def test_results_and_errors_come_back_to_who_asked() -> None:
    workers = Workers(2, name="test")

    good = workers.run(answers(lambda a, b: a + b), 1, 2, ended=nothing)
    bad = workers.run(answers(int), "no number", ended=nothing)

    assert await good == 3
    with pytest.raises(ValueError, match="no number"):
        await bad
    workers.close()


async def test_as_much_runs_at_once_as_there_are_threads() -> None:
    workers, together = Workers(3, name="test"), threading.Barrier(3, timeout=10)

    results = await asyncio.gather(
        *(workers.run(answers(together.wait), ended=nothing) for _ in range(9))
    )

    assert sorted(results) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    workers.close()


async def test_no_more_threads_are_started_than_work_is_there() -> None:
    workers = Workers(8, name="test")

    used = {await workers.run(answers(threading.get_ident), ended=nothing) for _ in range(5)}

    assert len(used) == 1
    workers.close()


async def test_the_end_is_told_although_nobody_waits_any_more() -> None:
    workers, go_on, ended = Workers(1, name="test"), threading.Event(), asyncio.Event()
    running = workers.run(answers(go_on.wait), ended=ended.set)

    running.cancel()
    assert not ended.is_set()
    go_on.set()

    await asyncio.wait_for(ended.wait(), 10)
    workers.close()


async def test_closed_workers_finish_what_they_were_given_and_take_no_more() -> None:
    workers, go_on = Workers(1, name="test"), threading.Event()
    first = workers.run(answers(go_on.wait), ended=nothing)
    second = workers.run(answers(threading.current_thread), ended=nothing)

    workers.close()
    go_on.set()

    assert await first
    thread = await second
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="no more work"):
        workers.run(answers(nothing), ended=nothing)


async def test_a_loop_that_is_busy_hears_of_many_results_at_once_and_of_every_one() -> None:
    workers = Workers(8, name="test")

    for _ in range(50):
        jobs = [workers.run(answers(nothing), ended=nothing) for _ in range(40)]
        await asyncio.wait_for(asyncio.gather(*jobs), 30)

    workers.close()


async def test_a_job_may_be_answered_by_another_thread_when_its_own_has_gone_on() -> None:
    workers, left = Workers(1, name="test"), list[Job]()
    first = workers.run(left.append, ended=nothing)

    # The only thread is free for the second although the first is not answered.
    assert await workers.run(answers(lambda: "second"), ended=nothing) == "second"
    assert not first.done()
    await asyncio.to_thread(left[0].answer, "first")

    assert await asyncio.wait_for(first, 10) == "first"
    workers.close()


async def test_what_another_thread_cannot_answer_a_thread_of_the_workers_does() -> None:
    workers, left = Workers(1, name="test"), list[Job]()
    good = workers.run(left.append, ended=nothing)
    bad = workers.run(left.append, ended=nothing)
    name = await workers.run(answers(lambda: threading.current_thread().name), ended=nothing)

    await asyncio.to_thread(left[0].run, lambda: threading.current_thread().name)
    await asyncio.to_thread(left[1].run, lambda: int("no number"))

    assert await asyncio.wait_for(good, 10) == name
    with pytest.raises(ValueError, match="no number"):
        await asyncio.wait_for(bad, 10)
    workers.close()
