"""What a call raises does not depend on the way it takes: in process, over NATS or over gRPC."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from eskit.app import App, RunningApp
from eskit.cqrs.clients import InProcessTransport
from eskit.cqrs.grpc.services import GrpcServices
from eskit.cqrs.grpc.transport import GrpcTransport
from eskit.cqrs.nats import NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions
from eskit.cqrs.requests import Requests
from eskit.domain.events import NewEvent
from eskit.errors import (
    CallFailed,
    ClaimTaken,
    CommandIdReused,
    CommandRejected,
    EskitError,
    InvalidArgument,
    ProjectionError,
    RequestTimeout,
    StoreUnavailable,
    VersionConflict,
)
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from eskit.projections.locks import lock_of
from eskit.projections.opening import open_read_models

WAYS = ("the app", "a client in process", "a client over NATS", "a client over gRPC")


@pytest.fixture(scope="module")
def server() -> Any:
    with EmbeddedNats() as server:
        yield server


@asynccontextmanager
async def opened(bank: Any, server: EmbeddedNats, path: Any, way: str) -> AsyncIterator[Any]:
    """The app with one account, and whatever calls it this way."""

    class Account(bank.Account):  # type: ignore[misc]
        def withdraw(self, command: Any) -> Any:
            if command.amount == "slow":
                time.sleep(0.5)
                command.amount = "1.00"
            if command.amount == "leave":
                raise SystemExit
            if command.amount == "broken":
                raise KeyError("secret")
            return super().withdraw(command)

    app = App(
        "bank",
        aggregates=[Account],
        queries=[bank.Queries],
        projections=bank.app.projections,
        upcasters=bank.upcasters,
    )
    with app.open(f"sqlite:///{path}/bank.db") as running:
        command = bank.pb.OpenAccountCommand(
            account_id="acc-1", owner_name="Ann", initial_balance="10.00"
        )
        running.execute(command, command_id="open-1")
        if way == "the app":
            yield Calls(running, running)
        elif way == "a client in process":
            yield Calls(running, InProcessTransport(running))
        elif way == "a client over gRPC":
            served = GrpcServices(Requests(running), app.service_types, app_name="bank")
            await served.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
                yield Calls(running, GrpcTransport(channel))
            await served.stop()
        else:
            async with (
                connected(server.url) as serving,
                connected(server.url) as calling,
            ):
                serves = await serve_nats(running, serving, app.service_types)
                yield Calls(running, NatsTransport(calling))
                await serves.stop()


class Calls:
    """Calls an app one way, and gives what it raises."""

    def __init__(self, running: RunningApp, way: Any) -> None:
        self.running, self._way = running, way

    async def raised(self, name: str, message: Any, **options: Any) -> EskitError:
        method = self.running.app.method(name)
        try:
            if isinstance(self._way, RunningApp):
                await asyncio.to_thread(self._way.handle, method, message, CallOptions(**options))
            else:
                await self._way.request(method, message, CallOptions(**options))
        except EskitError as error:
            return error
        pytest.fail("it was answered")


OPEN = "account.v1.AccountCommandService/OpenAccount"
WITHDRAW = "account.v1.AccountCommandService/Withdraw"
GET = "account.v1.AccountQueryService/GetAccount"


def claimed_elsewhere(bank: Any, calls: Calls) -> Any:
    event = bank.pb.MoneyDepositedEvent(account_id="acc-2", amount="1", new_balance="1")
    taken = NewEvent(event, claims=(bank.claim("account_id", "acc-9"),))
    calls.running.store.append("Account-acc-2", [taken], expected_version=0)
    return calls.raised(
        OPEN,
        bank.pb.OpenAccountCommand(account_id="acc-9", owner_name="Bo", initial_balance="1"),
    )


def withdrawn(amount: str, **options: Any) -> Callable[[Any, Calls], Any]:
    return lambda bank, calls: calls.raised(
        WITHDRAW, bank.pb.WithdrawCommand(account_id="acc-1", amount=amount), **options
    )


def asked(**options: Any) -> Callable[[Any, Calls], Any]:
    return lambda bank, calls: calls.raised(
        GET, bank.pb.GetAccountRequest(account_id="acc-1"), **options
    )


def asked_while_paused(bank: Any, calls: Calls) -> Any:
    calls.running.catch_up()
    calls.running.execute(bank.pb.DepositCommand(account_id="acc-1", amount="1.00"))
    calls.running.engine.pause("account-balance", reason="test", by="test")
    return asked()(bank, calls)


def without_store(bank: Any, calls: Calls) -> Any:
    calls.running.store.close()
    return withdrawn("1.00")(bank, calls)


SITUATIONS: dict[str, tuple[type[EskitError], Callable[[Any, Calls], Any]]] = {
    "a rule says no": (CommandRejected, withdrawn("99.00")),
    "another version": (VersionConflict, withdrawn("1.00", expected_version=7)),
    "a claim of another": (ClaimTaken, claimed_elsewhere),
    "a used command id": (CommandIdReused, withdrawn("1.00", command_id="open-1")),
    "a tenant that is none": (InvalidArgument, withdrawn("1.00", tenant="no tenant")),
    "a position past the end": (InvalidArgument, asked(at_least=1_000)),
    "a slow handler": (RequestTimeout, withdrawn("slow", timeout=0.2)),
    "no time": (RequestTimeout, withdrawn("1.00", timeout=0.0)),
    "no time for a query": (RequestTimeout, asked(timeout=0.0)),
    "a paused projection": (ProjectionError, asked_while_paused),
    "a store that is away": (StoreUnavailable, without_store),
}


@pytest.fixture(scope="module")
def queries(bank: SimpleNamespace) -> SimpleNamespace:
    (binding,) = bank.app.bindings
    bank.Queries = type(binding.handlers["GetAccount"].__self__)
    return bank


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.promise("errors-are-the-same")
async def test_what_is_raised_does_not_depend_on_the_way(
    queries: Any, server: EmbeddedNats, tmp_path: Any, situation: str
) -> None:
    expected, provoke = SITUATIONS[situation]
    raised = []

    for number, way in enumerate(WAYS):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with opened(queries, server, folder, way) as calls:
            raised.append(await provoke(queries, calls))

    assert [isinstance(error, expected) for error in raised] == [True] * len(WAYS), raised
    assert expected is RequestTimeout or len({error.code for error in raised}) == 1
    told = [(error.rejection, error.details) for error in raised if hasattr(error, "rejection")]
    assert len(told) in {0, len(WAYS)}
    assert all(one == told[0] for one in told)
    if expected in {VersionConflict, ClaimTaken, CommandIdReused}:
        assert all(vars(error) == vars(raised[0]) for error in raised)


@pytest.mark.parametrize("amount", ["broken", "leave"])
@pytest.mark.parametrize("way", WAYS[1:])
async def test_of_a_fault_a_client_learns_an_id_either_way(
    queries: Any,
    server: EmbeddedNats,
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
    way: str,
    amount: str,
) -> None:
    async with opened(queries, server, tmp_path, way) as calls:
        error = await withdrawn(amount)(queries, calls)

    assert isinstance(error, CallFailed)
    assert "secret" not in f"{error} {error.hint}"
    assert str(error).rpartition(" ")[2] in caplog.text


async def test_a_handler_that_hangs_keeps_no_client_in_process(queries: Any, tmp_path: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Account(queries.Account):  # type: ignore[misc]
        def deposit(self, command: Any) -> Any:
            begun.set()
            go_on.wait(20)
            return super().deposit(command)

    app = App("bank", aggregates=[Account], upcasters=queries.upcasters)
    with app.open(f"sqlite:///{tmp_path}/bank.db") as running:
        running.execute(
            queries.pb.OpenAccountCommand(
                account_id="acc-1", owner_name="Ann", initial_balance="10.00"
            )
        )
        client = queries.es.AccountCommandClient(InProcessTransport(running))
        command = queries.pb.DepositCommand(account_id="acc-1", amount="1.00")
        with pytest.raises(RequestTimeout, match=r"did not answer within 0\.2 s"):
            await client.deposit(command, options=CallOptions(timeout=0.2))
        assert begun.is_set()
        go_on.set()
        late = await client.deposit(command, options=CallOptions(timeout=20))

    assert late.version == 2


async def test_a_query_waits_for_rows_no_longer_than_it_may(queries: Any, tmp_path: Any) -> None:
    models = open_read_models(f"sqlite:///{tmp_path}/bank_read.db")
    lock = lock_of(models, "account-balance", "run")
    async with opened(queries, None, tmp_path, "the app") as calls:  # type: ignore[arg-type]
        with lock:
            error = await asked(timeout=0.3)(queries, calls)

    assert "within 0.3 s" in str(error)


@pytest.mark.promise("errors-are-the-same")
async def test_what_is_too_late_is_not_appended(queries: Any, tmp_path: Any) -> None:
    async with opened(queries, None, tmp_path, "the app") as calls:  # type: ignore[arg-type]
        error = await withdrawn("slow", timeout=0.1)(queries, calls)
        version = calls.running.store.stream_version("Account-acc-1")

    assert "nothing was appended" in str(error)
    assert version == 1
