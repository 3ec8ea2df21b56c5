"""Scenarios: read models behind a broker, an embedded server in a runner, credentials."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from eskit.errors import BrokerUnavailable
from eskit.nats.connection import connected
from eskit.nats.credentials import Chain, Environment, Static
from eskit.nats.jetstream import create_stream, last_message, publish
from eskit.nats.login import Token
from eskit.nats.server import EmbeddedNats
from eskit.runtime.assembly import EmbeddedServer
from eskit.runtime.runner import Runner, RunnerEvent
from tests.support.running import eskit, interrupt, read_until

CAROL = "acc-carol-001"


def call(project: Path, method: str, *options: str, **fields: str) -> Any:
    ran = eskit("call", method, *options, "--data", json.dumps(fields), "--json", cwd=project)
    assert ran.code == 0, ran.err
    return ran.json["data"]


def test_read_models_follow_what_is_published(launch, use_store, tmp_path):
    assert eskit("new", "project", "bank", "--template", "bank", cwd=tmp_path).code == 0
    bank = tmp_path / "bank"
    use_store(bank)
    assert eskit("gen", cwd=bank).code == 0
    process = launch("serve", cwd=bank)
    read_until(process, "stop with Ctrl-C")
    commands, queries = "account.v1.AccountCommandService", "account.v1.AccountQueryService"

    call(
        bank,
        f"{commands}/OpenAccount",
        *("--via", "nats"),
        account_id=CAROL,
        owner_name="Carol",
        initial_balance="10000.00",
    )
    call(bank, f"{commands}/Deposit", "--via", "nats", account_id=CAROL, amount="5000.00")
    call(bank, f"{commands}/Withdraw", "--via", "nats", account_id=CAROL, amount="2000.00")
    balance = call(bank, f"{queries}/GetAccountBalance", "--via", "nats", account_id=CAROL)
    history = call(bank, f"{queries}/GetAccountHistory", "--via", "nats", account_id=CAROL)
    positions: dict[str, int] = {}
    deadline = time.monotonic() + 30
    while set(positions.values()) != {3} and time.monotonic() < deadline:
        listed = eskit("checkpoint", "list", "--json", cwd=bank).json["data"]
        names = ("account-balance", "activity-log", "relay")
        positions = {item["name"]: item["position"] for item in listed if item["name"] in names}
    ended = interrupt(process)

    assert balance["balance"] == "13000.00"
    assert [(entry["activity"], entry["amount"]) for entry in history["entries"]] == [
        ("OPENED", "10000.00"),
        ("DEPOSIT", "5000.00"),
        ("WITHDRAWAL", "2000.00"),
    ]
    assert positions == {"account-balance": 3, "activity-log": 3, "relay": 3}
    assert (ended.code, ended.err) == (0, "")


async def test_an_embedded_server_runs_in_a_runner_and_leaves_nothing() -> None:
    server = EmbeddedNats(max_payload=2 * 1024 * 1024)
    events: list[RunnerEvent] = []
    runner = Runner(
        [EmbeddedServer(server)],
        startup_timeout=30,
        shutdown_timeout=10,
        on_event=events.append,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(runner.run(stop))
    async with asyncio.timeout(30):
        while not (health := await runner.check_health())[0].healthy:
            assert not running.done()
            await asyncio.sleep(0.01)

    async with connected(server.url) as connection:
        subscription = await connection.subscribe("demo")
        await connection.publish("demo", b"Hello from embedded NATS!")
        heard = await subscription.next_msg(timeout=10)
        await create_stream(
            connection, {"name": "DEMO", "subjects": ["demo.>"], "storage": "memory"}
        )
        sequence = await publish(connection, "demo.1", b"Hello from JetStream!", {})
        kept = await last_message(connection, "DEMO")
        largest = connection.max_payload
    folder = server.folder
    begun = time.monotonic()
    stop.set()
    await running

    assert health[0].service == "nats"
    assert heard.data == b"Hello from embedded NATS!"
    assert kept is not None
    assert (sequence, kept.data) == (1, b"Hello from JetStream!")
    assert largest == 2 * 1024 * 1024
    assert time.monotonic() - begun < 10
    assert [event.state for event in events] == ["starting", "ready", "stopping", "stopped"]
    assert folder is not None
    assert not folder.exists()


async def test_a_server_that_demands_a_token_lets_in_who_has_it_from_wherever() -> None:
    secret = "from-the-environment"  # noqa: S105 - of a server of the test
    chain = Chain(Environment({"NATS_TOKEN": secret}), Static(Token("not asked")))
    fallback = Chain(Environment({}), Static(Token(secret)))

    with EmbeddedNats(token=secret) as server:
        for provider in (
            Static(Token(secret)),
            Environment({"NATS_TOKEN": secret}),
            chain,
            fallback,
        ):
            async with connected(server.address, credentials=provider) as connection:
                assert connection.is_connected
            assert secret not in repr(provider)
        for wrong in (None, Static(Token("wrong-token"))):
            with pytest.raises(BrokerUnavailable, match="refused the credentials") as refused:
                async with connected(server.address, credentials=wrong):
                    pass
            assert "wrong-token" not in str(refused.value)
