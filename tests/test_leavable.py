"""Threads of an event loop that keep nobody from leaving."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from eskit.leavable import LeavableThreads


def count_threads(name: str) -> int:
    return sum(thread.name.startswith(f"{name}-") for thread in threading.enumerate())


def test_results_and_errors_come_back():
    threads = LeavableThreads(2)

    assert threads.submit(int, "7").result(20) == 7
    with pytest.raises(ValueError, match="no number"):
        threads.submit(int, "no number").result(20)
    threads.shutdown()


def test_no_more_run_at_once_than_may_and_all_run_in_the_end():
    threads, together = LeavableThreads(3, name="three"), threading.Barrier(3, timeout=20)

    waiting = [threads.submit(together.wait) for _ in range(9)]

    assert sorted(one.result(20) for one in waiting) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert count_threads("three") == 3
    threads.shutdown()


def test_an_idle_thread_is_used_again():
    threads = LeavableThreads(8, name="eight")

    for _ in range(20):
        threads.submit(int).result(20)

    assert count_threads("eight") <= 2  # the first may be about to be idle
    threads.shutdown()


def test_what_was_cancelled_before_its_turn_does_not_run():
    threads, go_on, ran = LeavableThreads(1), threading.Event(), []
    first = threads.submit(go_on.wait, 20)
    second = threads.submit(ran.append, 2)

    assert second.cancel()
    go_on.set()

    assert first.result(20)
    threads.submit(int).result(20)
    assert ran == []
    threads.shutdown()


def test_an_event_loop_and_an_interpreter_end_although_a_function_hangs():
    program = """
import asyncio, threading
from eskit.leavable import LeavableThreads

async def main():
    asyncio.get_running_loop().set_default_executor(LeavableThreads())
    begun = threading.Event()

    def hang():
        begun.set()
        threading.Event().wait()

    hanging = asyncio.ensure_future(asyncio.to_thread(hang))
    while not begun.is_set():
        await asyncio.sleep(0.01)

asyncio.run(main())
print("left")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "left\n", "")


async def test_it_serves_as_the_executor_of_a_loop():
    asyncio.get_running_loop().set_default_executor(LeavableThreads())

    names = await asyncio.gather(
        *(asyncio.to_thread(lambda: threading.current_thread().daemon) for _ in range(5))
    )

    assert names == [True] * 5
