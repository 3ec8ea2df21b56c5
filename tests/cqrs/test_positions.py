"""Queries answered from read models that have passed a position."""

from __future__ import annotations

import threading
from importlib import import_module
from types import SimpleNamespace

import pytest

from eskit import CallOptions
from eskit.cqrs.clients import InProcessTransport, ReadYourWrites
from eskit.errors import InvalidArgument, ProjectionBusy
from eskit.projections.locks import lock_of


@pytest.fixture
def running(bank, tmp_path):
    with bank.app.open(f"sqlite:///{tmp_path}/bank.db") as running:
        yield running


def open_account(bank, running, account: str):
    method = bank.app.method("account.v1.AccountCommandService/OpenAccount")
    command = bank.pb.OpenAccountCommand(
        account_id=account, owner_name="Ann", initial_balance="1.00"
    )
    return running.handle(method, command, CallOptions())


@pytest.fixture
def stalled(running):
    """Somebody else holds the projections and does not go on."""
    locks = [
        lock_of(running.engine._models, projection.name, "run")
        for projection in running.app.projections
    ]
    for lock in locks:
        lock.acquire()
    yield
    for lock in locks:
        lock.release()


@pytest.mark.promise("queries-wait-for-their-position")
def test_a_query_at_a_position_does_not_wait_for_what_came_after(bank, running, request):
    first = open_account(bank, running, "acc-1")
    running.catch_up()
    request.getfixturevalue("stalled")
    open_account(bank, running, "acc-2")

    found = running.query(
        bank.pb.GetAccountRequest(account_id="acc-1"), at_least=first.global_position
    )

    assert found.owner_name == "Ann"
    impatient = CallOptions(timeout=0.1)
    with pytest.raises(ProjectionBusy, match=r"has not passed 2 within 0.1 s. Process \d+ is run"):
        running.query(bank.pb.GetAccountRequest(account_id="acc-1"), options=impatient)


def test_a_query_runs_projections_that_nobody_runs_up_to_the_position(bank, running):
    opened = open_account(bank, running, "acc-1")

    found = running.query(
        bank.pb.GetAccountRequest(account_id="acc-1"), at_least=opened.global_position
    )

    assert found.owner_name == "Ann"


def test_a_query_at_a_position_waits_for_who_runs_the_projections(bank, running):
    stop = threading.Event()
    runner = threading.Thread(target=lambda: running.engine.run(once=False, stop=stop))
    runner.start()
    try:
        for number in range(20):
            opened = open_account(bank, running, f"acc-{number}")
            found = running.query(
                bank.pb.GetAccountRequest(account_id=f"acc-{number}"),
                at_least=opened.global_position,
            )
            assert found.owner_name == "Ann"
    finally:
        stop.set()
        runner.join(30)


def test_a_position_that_no_event_has_is_refused(bank, running):
    open_account(bank, running, "acc-1")

    with pytest.raises(InvalidArgument, match="Position 2 is past the end of the log, 1"):
        running.query(bank.pb.GetAccountRequest(account_id="acc-1"), at_least=2)


async def test_queries_ask_for_at_least_the_position_of_the_last_command(bank, running):
    seen: list[CallOptions] = []

    def submit(method, message, options, executor):
        seen.append(options)
        return running.submit(method, message, options, executor)

    transport = ReadYourWrites(InProcessTransport(SimpleNamespace(submit=submit)))
    generated = import_module(bank.pb.__name__.replace("account_pb2", "account_es"))
    commands = generated.AccountCommandClient(transport)
    queries = generated.AccountQueryClient(transport)
    command = bank.pb.OpenAccountCommand(account_id="a-1", owner_name="A", initial_balance="1.00")

    await commands.open_account(command)
    await queries.get_account(bank.pb.GetAccountRequest(account_id="a-1"))
    await queries.get_account(
        bank.pb.GetAccountRequest(account_id="a-1"), options=CallOptions(at_least=0)
    )

    assert transport.position == 1
    assert [options.at_least for options in seen] == [None, 1, 0]
