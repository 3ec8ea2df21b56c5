"""Subscriptions of other programs from the command line: listed, paused, resumed and reset."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eskit.domain.events import RecordedEvent
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_store import store_bus
from eskit.store.open import open_store
from tests.support.processes import subscribing
from tests.support.running import configure, eskit, open_account, read_until


@pytest.fixture
def published(bank: Path, launch: Any) -> Path:
    """A bank with four events in NATS, whose server runs on."""
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0
    return bank


@pytest.fixture
def mailer(published: Path, tmp_path: Path) -> Any:
    """Starts the mailer, a program without the store; none is left when the test ends."""
    started: list[subprocess.Popen[bytes]] = []
    folder = tmp_path / "mailer"
    folder.mkdir()
    (folder / "handled").touch()

    def start() -> subprocess.Popen[bytes]:
        url = json.loads((published / ".eskit" / "nats.json").read_text())["url"]
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(published), root])}
        command = [sys.executable, subscribing.__file__, url, "mailer", str(folder)]
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    start.folder = folder  # type: ignore[attr-defined]
    yield start
    for process in started:
        process.kill()
        process.wait()


def handled(mailer: Any) -> list[int]:
    return [int(line) for line in (mailer.folder / "handled").read_text().split()]


def find(bank: Path, name: str = "mailer") -> dict[str, Any]:
    listed = eskit("reaction", "list", "--json", cwd=bank)
    assert listed.code == 0, listed.err
    found = [each for each in listed.json["data"] if each["name"] == name]
    return found[0] if found else {}


def until(bank: Path, **wanted: Any) -> dict[str, Any]:
    """The mailer in the list once it is so."""
    deadline = time.monotonic() + 60
    while not (found := find(bank)) or any(found[key] != wanted[key] for key in wanted):
        assert time.monotonic() < deadline, found
    return found


def test_a_program_that_subscribes_is_listed_paused_resumed_and_reset(published, mailer):
    """It runs all the time, in a process of its own, which has no store."""
    process = mailer()
    running = until(published, position=4, state="running")
    shown = eskit("reaction", "list", cwd=published)
    paused = eskit("reaction", "pause", "mailer", "--reason", "wrong amounts", cwd=published)
    twice = eskit("reaction", "pause", "mailer", "--reason", "too", cwd=published)
    well = eskit("reaction", "status", "mailer", "--json", cwd=published)
    resumed = eskit("reaction", "resume", "mailer", "--reason", "mended", cwd=published)
    dry = eskit("reaction", "reset", "mailer", "--after", "2", "--dry-run", cwd=published)
    asked = eskit("reaction", "reset", "mailer", "--after", "2", cwd=published)
    beyond = eskit("reaction", "reset", "mailer", "--after", "9", "--yes", cwd=published)
    before = handled(mailer)
    reset = eskit("reaction", "reset", "mailer", "--after", "2", "--yes", "--json", cwd=published)
    until(published, position=4, state="running")
    again = eskit("reaction", "reset", "mailer", "--after", "now", "--dry-run", cwd=published)

    assert (running["kind"], running["kept_in"]) == ("subscription", "nats")
    assert (running["holder"], running["lag"]) == (process.pid, 0)
    lines = [line.split()[:4] for line in shown.out.splitlines()]
    assert lines[1:] == [
        ["welcome", "reaction", "idle", "4"],
        ["mailer", "subscription", "in", "NATS"],
    ]
    assert paused.out == "mailer  paused at 4\n"
    assert "paused already: wrong amounts" in twice.err
    assert (well.code, well.json["data"][0]["pause"]) == (0, "wrong amounts")
    assert resumed.out == "mailer  resumed at 4, 0 events behind\n"
    assert "mailer from 4 to 2: 2 events handled again" in dry.out
    assert (asked.code, "2 events handled again" in asked.err) == (2, True)
    assert (beyond.code, "ends at 4" in beyond.err) == (2, True)
    assert (before, handled(mailer)) == ([1, 2, 3, 4], [1, 2, 3, 4, 3, 4])
    assert reset.json["data"]["changed"] is True
    assert "no event is handled again or skipped" in again.out


def test_a_subscription_with_dead_letters_is_red_and_one_that_nobody_runs_is_a_warning(
    published, mailer
):
    process = mailer()
    until(published, position=4)
    process.kill()
    process.wait()
    assert open_account(published, "new").code == 0
    assert eskit("relay", "--once", cwd=published).code == 0
    stopped = until(published, state="idle", lag=1)
    waits = eskit("reaction", "status", "mailer", cwd=published)
    (mailer.folder / "failing").touch()
    mailer()
    until(published, set_aside=1, lag=0)
    failed = eskit("reaction", "status", cwd=published)
    letters = eskit("deadletter", "list", "mailer", "--json", cwd=published).json["data"]

    assert (stopped["holder"], stopped["oldest_seconds"] > 0) == (None, True)
    assert waits.code == 0
    assert "no process runs it" in waits.out
    assert "mailer: 1 event behind, and no process runs it" in waits.err
    assert failed.code == 1
    assert "1 dead letter, the first at 5" in failed.out
    assert "eskit deadletter list mailer" in failed.out
    assert [letter["position"] for letter in letters] == [5]


def test_subscriptions_in_nats_that_cannot_be_looked_at_are_a_warning(published, mailer, launch):
    process = mailer()
    until(published, position=4)
    process.kill()
    process.wait()
    eskit("reaction", "pause", "mailer", "--reason", "wrong amounts", cwd=published)
    configure(published, nats="nats://127.0.0.1:9")
    away = eskit("reaction", "status", cwd=published)
    named = eskit("reaction", "status", "mailer", cwd=published)
    reaction = eskit("reaction", "status", "welcome", cwd=published)
    configure(published, nats="embedded")
    unknown = eskit("reaction", "status", "mialer", cwd=published)
    outside = eskit("reaction", "list", cwd=published.parent)

    assert (away.code, "welcome" in away.out) == (0, True)
    assert "Subscriptions in NATS were not looked at" in away.err
    assert named.code == 1
    assert "127.0.0.1:9" in named.err
    assert (reaction.code, "not looked at" in reaction.err) == (0, False)
    assert (unknown.code, "Did you mean mailer?" in unknown.err) == (1, True)
    assert outside.code != 0


def test_a_subscription_that_keeps_its_place_with_the_log_is_listed_and_reset(bank):
    handled: list[int] = []

    async def subscribe() -> None:
        async def handle(event: RecordedEvent) -> None:
            handled.append(event.global_position)
            if event.global_position == 3:
                raise RuntimeError("no index")

        with open_store(f"sqlite:///{bank}/bank.db") as store:
            bus = store_bus(store)
            subscription = Subscription(name="index", aggregates=["Account"], max_deliveries=1)
            subscriber = await bus.subscribe(subscription, handle)
            async with asyncio.timeout(30):
                while subscriber.position != 4:  # noqa: ASYNC110 - by a task
                    await asyncio.sleep(0.01)
            await subscriber.stop()

    asyncio.run(subscribe())
    first = find(bank, "index")
    letters = eskit("deadletter", "list", "--json", cwd=bank).json["data"]
    skipped = eskit("deadletter", "skip", "index", "3", "--reason", "test", "--yes", cwd=bank)
    paused = eskit("reaction", "pause", "index", "--reason", "wrong", cwd=bank)
    reset = eskit("reaction", "reset", "index", "--after", "1", "--yes", cwd=bank)
    status = eskit("reaction", "status", "index", "--json", cwd=bank).json["data"][0]

    assert (first["kind"], first["kept_in"], first["state"]) == ("subscription", "store", "failed")
    assert [(each["subscription"], each["position"]) for each in letters] == [("index", 3)]
    assert skipped.code == 0
    assert paused.out == "index  paused at 4\n"
    assert "index from 4 to 1: 3 events handled again" in reset.out
    assert (status["state"], status["position"], status["lag"]) == ("paused", 1, 3)
