"""Queries that wait for a projection keep nobody else from being answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from eskit.app import App, RunningApp
from eskit.cqrs.middleware import log_calls, recover
from eskit.cqrs.nats import NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions
from eskit.errors import ProjectionBusy, RequestTimeout
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from eskit.projections.locks import lock_of

GET = "account.v1.AccountQueryService/GetAccount"
DEPOSIT = "account.v1.AccountCommandService/Deposit"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats() as server:
        yield server


@pytest.fixture(params=[(), (recover, log_calls)], ids=["plain", "with middleware"])
def running(bank: SimpleNamespace, tmp_path: Any, request: Any) -> Iterator[RunningApp]:
    (binding,) = bank.app.bindings
    app = App(
        "bank",
        aggregates=bank.app.aggregates,
        queries=[type(binding.handlers["GetAccount"].__self__)],
        projections=bank.app.projections,
        upcasters=bank.upcasters,
        middleware=request.param,
    )
    with app.open(f"sqlite:///{tmp_path}/bank.db") as running:
        running.execute(
            bank.pb.OpenAccountCommand(account_id="acc-1", owner_name="Ann", initial_balance="1")
        )
        yield running


@contextmanager
def held(running: RunningApp) -> Iterator[None]:
    """Somebody else holds the projections and does not go on."""
    locks = [lock_of(running.engine._models, one.name, "run") for one in running.app.projections]
    for lock in locks:
        lock.acquire()
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


@pytest.mark.promise("waiting-queries-block-nothing")
async def test_queries_that_wait_hold_no_worker(
    running: RunningApp, bank: SimpleNamespace, server: EmbeddedNats
) -> None:
    get, deposit = running.app.method(GET), running.app.method(DEPOSIT)
    ask = bank.pb.GetAccountRequest(account_id="acc-1")
    await asyncio.to_thread(running.catch_up)

    async with connected(server.url) as serving, connected(server.url) as calling:
        serves = await serve_nats(running, serving, running.app.service_types, max_concurrent=1)
        transport = NatsTransport(calling)
        with held(running):
            pay = bank.pb.DepositCommand(account_id="acc-1", amount="1")
            paid = await transport.request(deposit, pay, CallOptions())
            waiting = [
                asyncio.create_task(transport.request(get, ask, CallOptions(timeout=60)))
                for _ in range(20)
            ]
            while len(running.engine._parking._parked) < 20:  # noqa: ASYNC110 - by a thread
                await asyncio.sleep(0.01)
            at_once = await transport.request(get, ask, CallOptions(at_least=0))
            again = await transport.request(deposit, pay, CallOptions())
            none_answered = not any(one.done() for one in waiting)
        answers = await asyncio.gather(*waiting)
        await serves.stop()

    assert none_answered
    assert (at_once.message.balance, again.message.version) == ("1", 3)
    assert {one.message.balance for one in answers} <= {"2", "3"}
    assert paid.global_position == 2


async def test_a_query_that_waits_in_vain_is_told_why_in_time(
    running: RunningApp, bank: SimpleNamespace, server: EmbeddedNats
) -> None:
    get = running.app.method(GET)
    ask = bank.pb.GetAccountRequest(account_id="acc-1")

    async with connected(server.url) as serving, connected(server.url) as calling:
        serves = await serve_nats(running, serving, running.app.service_types)
        transport = NatsTransport(calling)
        with held(running):
            with pytest.raises((ProjectionBusy, RequestTimeout)):
                await transport.request(get, ask, CallOptions(timeout=0.5))
            waiting = asyncio.create_task(transport.request(get, ask, CallOptions(timeout=60)))
            while not running.engine._parking._parked:  # noqa: ASYNC110 - by a thread
                await asyncio.sleep(0.01)
        answer = await waiting
        await serves.stop()

    assert answer.message.owner_name == "Ann"


def test_parked_work_is_called_once_at_its_end(running: RunningApp) -> None:
    called = threading.Semaphore(0)
    name = running.app.projections[0].name

    with held(running):
        running.engine.when_passed([name], 1, 60.0, called.release)
        running.engine.when_passed([name], 1, 0.0, called.release)
        assert called.acquire(timeout=20)
    assert called.acquire(timeout=20)
    assert not called.acquire(timeout=0.2)
