"""The runner: in order, in reverse, in time, and nothing left running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from eskit.errors import (
    BrokerUnavailable,
    InvalidArgument,
    MessagingError,
    ServiceError,
)
from eskit.runtime.runner import Runner, RunnerEvent
from eskit.runtime.service import Loop, Resource, Worker
from tests.support.coded import coded


class Recorder:
    """A service that writes down what happens to it."""

    def __init__(self, name: str, log: list[str], **behaviour: Any) -> None:
        self.name = name
        self.log = log
        self.behaviour = behaviour
        self.ended = asyncio.Event()

    async def start(self) -> None:
        self.log.append(f"start {self.name}")
        await self.behave("start")
        self.log.append(f"ready {self.name}")

    async def stop(self) -> None:
        self.log.append(f"stop {self.name}")
        await self.behave("stop")

    async def wait(self) -> None:
        await self.ended.wait()
        await self.behave("wait")

    async def behave(self, moment: str) -> None:
        behaviour = self.behaviour.get(moment)
        if isinstance(behaviour, Exception):
            raise behaviour
        if behaviour == "hang":
            await asyncio.sleep(60)
        if behaviour == "ignore":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if self.behaviour.get("give up"):
                        raise


async def until_logged(log: list[str], line: str) -> None:
    """Wait until a service has written a line."""
    while line not in log:  # noqa: ASYNC110 - the log is a plain list
        await asyncio.sleep(0.005)


async def run_until_ready(runner: Runner, log: list[str], last: str) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    await until_logged(log, f"ready {last}")
    stop.set()
    await task


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    """One after another, and back."""
    log: list[str] = []
    runner = Runner([Recorder("a", log), Recorder("b", log)])

    await run_until_ready(runner, log, "b")

    assert log == ["start a", "ready a", "start b", "ready b", "stop b", "stop a"]


async def test_a_service_that_does_not_start_stops_those_before_it_and_itself() -> None:
    log: list[str] = []
    failing = Recorder("b", log, start=MessagingError("not my stream", code="BROKER_MISMATCH"))
    runner = Runner([Recorder("a", log), failing, Recorder("c", log)])

    with pytest.raises(MessagingError, check=coded("BROKER_MISMATCH"), match="not my stream"):
        await runner.run()

    assert log == ["start a", "ready a", "start b", "stop b", "stop a"]


async def test_a_service_that_fails_while_running_stops_all() -> None:
    """A failing service ends the run."""
    log: list[str] = []
    events: list[RunnerEvent] = []
    failing = Recorder("a", log, wait=RuntimeError("boom"))
    runner = Runner([failing, Recorder("b", log)], on_event=events.append)
    task = asyncio.create_task(runner.run())
    await until_logged(log, "ready b")

    failing.ended.set()
    with pytest.raises(ServiceError, match="a failed: RuntimeError: boom"):
        await task

    assert log[-2:] == ["stop b", "stop a"]
    assert RunnerEvent(service="a", state="failed", error="a failed: RuntimeError: boom") in events


async def test_a_service_that_ends_by_itself_is_a_failure() -> None:
    log: list[str] = []
    ending = Recorder("a", log)
    ending.ended.set()

    with pytest.raises(ServiceError, match="a ended by itself"):
        await Runner([ending]).run()


@pytest.mark.parametrize("how", ["hang", "ignore"])
async def test_the_startup_timeout_holds(how: str) -> None:
    """Also for a service that does not listen."""
    log: list[str] = []
    slow = Recorder("slow", log, start=how)
    runner = Runner([Recorder("a", log), slow], startup_timeout=0.1)
    begun = time.monotonic()

    with pytest.raises(ServiceError, match=r"slow did not start within 0\.1 s"):
        await runner.run()

    slow.behaviour["give up"] = True
    assert time.monotonic() - begun < 2
    assert log == ["start a", "ready a", "start slow", "stop slow", "stop a"]


@pytest.mark.parametrize("how", ["hang", "ignore"])
async def test_the_shutdown_timeout_holds_and_the_others_are_stopped(how: str) -> None:
    log: list[str] = []
    slow = Recorder("slow", log, stop=how)
    runner = Runner([Recorder("a", log), slow], shutdown_timeout=0.1)

    with pytest.raises(ServiceError, match=r"slow did not stop within 0\.1 s"):
        await run_until_ready(runner, log, "slow")

    slow.behaviour["give up"] = True
    assert log[-2:] == ["stop slow", "stop a"]


async def test_a_failing_stop_does_not_keep_the_others_from_being_stopped() -> None:
    log: list[str] = []
    runner = Runner([Recorder("a", log), Recorder("b", log, stop=RuntimeError("boom"))])

    with pytest.raises(ServiceError, match="b failed: RuntimeError: boom"):
        await run_until_ready(runner, log, "b")

    assert log[-2:] == ["stop b", "stop a"]


async def test_stopping_while_a_service_starts_does_not_wait_for_it() -> None:
    log: list[str] = []
    stop = asyncio.Event()
    runner = Runner([Recorder("slow", log, start="hang"), Recorder("b", log)])
    task = asyncio.create_task(runner.run(stop))
    await until_logged(log, "start slow")

    stop.set()
    await asyncio.wait_for(task, 2)

    assert log == ["start slow", "stop slow"]


async def test_a_signal_stops_in_order() -> None:
    log: list[str] = []
    task = asyncio.create_task(Runner([Recorder("a", log), Recorder("b", log)]).run())
    await until_logged(log, "ready b")

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 2)

    assert log[-2:] == ["stop b", "stop a"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_a_signal_that_does_not_interrupt_the_loops_sleep_wakes_it() -> None:
    """It comes just before the loop goes to sleep, or to another thread: as it does here."""
    log: list[str] = []
    task = asyncio.create_task(Runner([Recorder("a", log)]).run())
    await until_logged(log, "ready a")
    beside = threading.Timer(
        0.2, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    )
    beside.start()
    late = asyncio.get_running_loop().call_later(10, log.append, "woken by something else")

    await task
    late.cancel()

    assert log == ["start a", "ready a", "stop a"]


def test_a_second_signal_ends_the_process_at_once() -> None:
    """Nobody has to look for kill -9."""
    code = """
import asyncio, time
from eskit.runtime.runner import Runner
from eskit.runtime.service import Resource
def ready(): print("ready", flush=True)
runner = Runner([Resource("stuck", lambda: None, lambda: time.sleep(30)),
                 Resource("last", ready, lambda: None)])
asyncio.run(runner.run())
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 128 + signal.SIGINT

    assert time.monotonic() - begun < 2


async def test_health_is_known_for_each_service() -> None:
    def unwell() -> None:
        raise RuntimeError("no air")

    def nothing() -> None:
        pass

    async def forever(stop: asyncio.Event) -> None:
        await stop.wait()

    runner = Runner(
        [
            Resource("well", nothing, nothing, check=nothing),
            Resource("unwell", nothing, nothing, check=unwell),
            Loop("loop", forever),
        ]
    )
    before = await runner.check_health()
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    await asyncio.sleep(0.1)
    during = await runner.check_health()
    stop.set()
    await task

    assert [health.error for health in before] == ["not started"] * 3
    assert [(health.healthy, health.error) for health in during] == [
        (True, ""),
        (False, "no air"),
        (True, ""),
    ]


async def test_loops_and_workers_stop_when_asked_and_tell_when_they_fail() -> None:
    ended: list[str] = []

    async def loop(stop: asyncio.Event) -> None:
        await stop.wait()
        ended.append("loop")

    def work(stop: threading.Event) -> None:
        stop.wait()
        ended.append("worker")

    def fail(_: threading.Event) -> None:
        raise RuntimeError("boom")

    with pytest.raises(ServiceError, match="failing failed: RuntimeError: boom"):
        await Runner([Loop("loop", loop), Worker("worker", work), Worker("failing", fail)]).run()

    assert ended == ["worker", "loop"]


async def test_two_services_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="one name"):
        Runner([Recorder("a", []), Recorder("a", [])])


async def test_with_keep_going_a_failing_service_takes_no_other_with_it_and_is_begun_again() -> (
    None
):
    log: list[str] = []
    events: list[RunnerEvent] = []
    failing = Recorder("a", log, wait=RuntimeError("boom"))
    runner = Runner([failing, Recorder("b", log)], on_event=events.append, keep_going=True)
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    await until_logged(log, "ready b")

    failing.ended.set()
    while log.count("ready a") < 2:  # noqa: ASYNC110 - the log is a plain list
        await asyncio.sleep(0.005)
    health = await runner.check_health()
    stop.set()
    with pytest.raises(ServiceError, match="a failed: RuntimeError: boom"):
        await task

    assert [(one.healthy, one.error) for one in health] == [
        (False, "a failed: RuntimeError: boom"),
        (True, ""),
    ]
    assert "stop b" not in log[: log.index("ready a", 3)]
    assert [event.state for event in events if event.service == "a"].count("failed") == 1


async def test_with_keep_going_a_service_that_is_well_again_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eskit.runtime.runner._PROVEN_AFTER", 0.05)
    log: list[str] = []
    events: list[RunnerEvent] = []
    failing = Recorder("a", log, wait=RuntimeError("boom"))
    runner = Runner([failing], on_event=events.append, keep_going=True)
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))
    await until_logged(log, "ready a")

    failing.ended.set()
    while "failed" not in [event.state for event in events]:  # noqa: ASYNC110 - a plain list
        await asyncio.sleep(0.005)
    failing.ended.clear()
    while [event.state for event in events].count("ready") < 2:  # noqa: ASYNC110 - a plain list
        await asyncio.sleep(0.005)
    health = await runner.check_health()
    stop.set()
    await task

    assert [one.healthy for one in health] == [True]


async def test_with_keep_going_a_service_that_waits_for_nats_keeps_nobody_waiting() -> None:
    log: list[str] = []
    events: list[RunnerEvent] = []
    waiting = Recorder("a", log, start=BrokerUnavailable("nobody listens there"))
    runner = Runner([waiting, Recorder("b", log)], on_event=events.append, keep_going=True)
    stop = asyncio.Event()
    task = asyncio.create_task(runner.run(stop))

    await until_logged(log, "ready b")
    health = await runner.check_health()
    del waiting.behaviour["start"]
    await until_logged(log, "ready a")
    stop.set()
    await task

    assert (health[0].healthy, health[0].error) == (False, "nobody listens there")
    assert events[1] == RunnerEvent(service="a", state="waiting", error="nobody listens there")


async def test_with_keep_going_a_service_that_can_never_start_still_ends_the_run() -> None:
    log: list[str] = []
    refused = Recorder(
        "b", log, start=BrokerUnavailable("refused the credentials", code="BROKER_REFUSED")
    )

    with pytest.raises(BrokerUnavailable, check=coded("BROKER_REFUSED")):
        await Runner([Recorder("a", log), refused], keep_going=True).run()

    assert log[-2:] == ["stop b", "stop a"]
