"""Services whose disk is full, whose handlers hang, or that get more than they can do."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.app import RunningApp
from eskit.cqrs.lane import Lane, StillRunning
from eskit.cqrs.nats import NatsServices, NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.responses import OVERLOADED
from eskit.domain.services import ServiceType
from eskit.errors import EskitError, OutOfTime, RequestTimeout, ServiceError, StoreUnavailable
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from tests.cqrs.test_nats_services import ASK, ECHO, Served
from tests.support.answering import FakeApp

DEPOSIT = "account.v1.AccountCommandService/Deposit"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats() as server:
        yield server


@contextmanager
def a_full_disk(folder: Path) -> Iterator[None]:
    """A file that takes all the room of a small file system."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


@contextmanager
def no_larger_files(folder: Path) -> Iterator[None]:
    """No file of this process may grow."""
    size = max(file.stat().st_size for file in folder.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@asynccontextmanager
async def serving(
    bank: Any, server: EmbeddedNats, folder: Path
) -> AsyncIterator[tuple[RunningApp, NatsServices, Callable[[], Any]]]:
    """The bank over NATS, its store in `folder`, and a function that pays in."""
    with bank.app.open(
        f"sqlite:///{folder}/bank.db", read_models=f"sqlite:///{folder.parent}/read.db"
    ) as running:
        running.execute(
            bank.pb.OpenAccountCommand(account_id="acc-1", owner_name="Ann", initial_balance="1")
        )
        method = running.app.method(DEPOSIT)
        command = bank.pb.DepositCommand(account_id="acc-1", amount="1")
        async with connected(server.url) as connection, connected(server.url) as calling:
            services = await serve_nats(running, connection, running.app.service_types)
            transport = NatsTransport(calling)

            async def pay() -> Reply:
                return await transport.request(method, command, CallOptions(timeout=20))

            yield running, services, pay
            await services.stop()


async def check_what_a_full_disk_does(
    bank: Any,
    server: EmbeddedNats,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    full: Callable[[Path], Any],
) -> None:
    async with serving(bank, server, folder) as (running, services, pay):
        acknowledged = [await pay() for _ in range(3)]
        await services.check_health()
        with full(folder):
            told = None
            while told is None:
                try:
                    acknowledged.append(await pay())
                except StoreUnavailable as error:
                    told = error
            for _ in range(4):
                with pytest.raises(StoreUnavailable):
                    await pay()
            with pytest.raises(StoreUnavailable):
                await services.check_health()
        await services.check_health()
        acknowledged.append(await pay())
        events = list(running.store.read_stream("Account-acc-1"))

    assert "nothing was changed" in told.message
    assert "its log says why" in told.hint
    assert str(folder) not in f"{told} {told.hint}"
    assert [reply.message.version for reply in acknowledged] == list(range(2, len(events) + 1))
    lines = [record for record in caplog.records if record.name == "eskit.services"]
    begun, ended = (record for record in lines if record.levelno >= logging.WARNING)
    assert "cannot be answered" in begun.getMessage()
    assert begun.exc_info is None
    assert ended.getMessage() == "The store answers again; 5 requests were refused"


async def test_a_full_disk_is_told_to_callers_and_probes_and_once_to_the_log(
    bank: SimpleNamespace, server: EmbeddedNats, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await check_what_a_full_disk_does(bank, server, small_disk, caplog, a_full_disk)


async def test_a_file_that_may_not_grow_is_told_like_a_full_disk(
    bank: SimpleNamespace, server: EmbeddedNats, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()

    await check_what_a_full_disk_does(bank, server, folder, caplog, no_larger_files)


async def test_a_handler_that_hangs_is_named_with_its_stack_and_the_rest_is_answered(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    def wait(request: Any) -> Any:
        if request.value == "hang":
            go_on.wait(30)
        return request

    async with Served(FakeApp(wait), server.url, timeout=0.2) as served:
        for lane in served.server._requests._lanes.values():
            lane._slow.after = 0.1
        once = NatsTransport(served.client, attempts=1)
        with pytest.raises(RequestTimeout):
            await once.request(ECHO, StringValue(value="hang"), CallOptions(timeout=0.2))
        unhealthy = await unhealthy_at_last(served.server)
        described = served.server.describe()
        answered = await served.call("fine", timeout=20)
        go_on.set()
        while served.server.describe():  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.02)
        await served.server.check_health()

    assert str(unhealthy).startswith(f"{ECHO.path} has been running for ")
    assert "go_on.wait(30)" in str(unhealthy)
    assert described.startswith(f"{ECHO.path} has been running for ")
    assert answered.message == StringValue(value="fine")
    (line,) = (record for record in caplog.records if "It is here" in record.getMessage())
    assert "go_on.wait(30)" in line.getMessage()


async def unhealthy_at_last(services: NatsServices) -> ServiceError:
    while True:
        try:
            await services.check_health()
        except ServiceError as error:
            return error
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("busy", ["command", "query"])
async def test_commands_and_queries_do_not_take_each_others_place(
    server: EmbeddedNats, busy: str
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    commands, queries = ECHO, ECHO._replace(service=ASK.service, kind="query")
    services = [
        ServiceType(name=method.service, methods=(method,)) for method in (commands, queries)
    ]
    blocked, free = (commands, queries) if busy == "command" else (queries, commands)

    def wait(request: Any) -> Any:
        if request.value == "hang":
            begun.set()
            go_on.wait(30)
        return request

    bounds = {"max_concurrent": 1, "max_waiting": 0}
    async with Served(FakeApp(wait), server.url, services=services, **bounds) as served:
        at_work = asyncio.create_task(
            served.transport.request(blocked, StringValue(value="hang"), CallOptions())
        )
        await asyncio.to_thread(begun.wait, 20)
        answered = await served.transport.request(free, StringValue(value="a"), CallOptions())
        with pytest.raises(EskitError, match="Too many requests at once"):
            await NatsTransport(served.client, attempts=1).request(
                blocked, StringValue(value="b"), CallOptions()
            )
        go_on.set()
        await at_work

    assert answered.message == StringValue(value="a")


async def test_a_service_that_turns_requests_away_is_not_healthy(server: EmbeddedNats) -> None:
    go_on = threading.Event()

    def wait(request: Any) -> Any:
        go_on.wait(30)
        return request

    bounds = {"max_concurrent": 1, "max_waiting": 1}
    async with Served(FakeApp(wait), server.url, **bounds) as served:
        requests = [asyncio.create_task(served.raw(b"")) for _ in range(3)]
        done, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(ServiceError, match=r"than can be answered; 2 are here, of at most 2"):
            await served.server.check_health()
        go_on.set()
        await asyncio.gather(*requests)

    (turned_away,) = done
    assert turned_away.result()[0].error.code == OVERLOADED


async def test_who_waits_for_a_handler_that_hangs_is_told_when_the_service_stops(
    server: EmbeddedNats,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(request: Any) -> Any:
        begun.set()
        go_on.wait(30)
        return request

    async with Served(FakeApp(wait), server.url, max_concurrent=1) as served:
        at_work = asyncio.create_task(served.raw(b""))
        await asyncio.to_thread(begun.wait, 20)
        waiting = asyncio.create_task(served.raw(b""))
        while served.server._requests._lanes["command"]._present < 2:  # noqa: ASYNC110 - by the loop
            await asyncio.sleep(0.01)
        await served.server.stop(within=0.1)
        answers = await asyncio.gather(at_work, waiting)
        go_on.set()

    assert [response.error.code for response, _ in answers] == ["HANDLER_TIMEOUT"] * 2
    assert "before its service stopped" in answers[0][0].error.message
    assert "nothing was done" in answers[1][0].error.message


async def test_requests_that_were_given_up_while_they_waited_are_never_begun() -> None:
    go_on, begun = threading.Event(), []

    def wait(request: Any) -> Any:
        begun.append(request.value)
        go_on.wait(30)
        return request

    app = FakeApp(wait)

    lane = Lane("command", at_once=1, waiting=9)
    first = asyncio.create_task(
        lane.run(app, ECHO, StringValue(value="first"), CallOptions(timeout=60), within=60)
    )
    while not begun:  # noqa: ASYNC110 - by a thread
        await asyncio.sleep(0.01)
    with pytest.raises(RequestTimeout, match="nothing was done"):
        await lane.run(app, ECHO, StringValue(value="late"), CallOptions(timeout=0.05), within=0.05)
    go_on.set()
    await first
    last = await lane.run(app, ECHO, StringValue(value="last"), CallOptions(timeout=60), within=60)
    lane.close()

    assert last.message == StringValue(value="last")
    assert begun == ["first", "last"]
    assert lane._present == 0


async def test_requests_that_wait_when_a_service_gives_up_are_never_begun() -> None:
    go_on, begun = threading.Event(), []

    def wait(request: Any) -> Any:
        begun.append(request.value)
        go_on.wait(30)
        return request

    def ask(value: str) -> asyncio.Task[Reply]:
        options = CallOptions(timeout=60)
        request = StringValue(value=value)
        return asyncio.create_task(lane.run(FakeApp(wait), ECHO, request, options, within=60))

    lane = Lane("command", at_once=1, waiting=9)
    asked = [ask("first")]
    while not begun:  # noqa: ASYNC110 - by a thread
        await asyncio.sleep(0.01)
    asked.append(ask("waits"))
    await asyncio.sleep(0)  # the task begins
    assert len(lane.give_up()) == 2
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    go_on.set()
    last = await ask("last")
    lane.close()

    assert [type(outcome) for outcome in outcomes] == [StillRunning, OutOfTime]
    assert last.message == StringValue(value="last")
    assert begun == ["first", "last"]
