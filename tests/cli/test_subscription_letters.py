"""What a reaction could not handle: listed, shown, retried and skipped from the command line."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import nats_bus
from eskit.nats.connection import connected
from tests.support.running import configure, eskit, interrupt, read_until

WHY = ("--reason", "ticket 7")
MENDED = "if Decimal(event.opening_amount) >= WELCOME_FROM:"
BROKEN = f'raise KeyError("\\x1b[31meur")\n    {MENDED}'


def dead_letters(bank, *args):
    ran = eskit("deadletter", "list", *args, "--json", cwd=bank)
    assert ran.code == 0, ran.err
    return ran.json["data"]


def url_of(bank) -> str:
    url: str = json.loads((bank / ".eskit" / "nats.json").read_text())["url"]
    return url


def change_reaction(bank, old, new) -> None:
    module = bank / "bank" / "reactions.py"
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, new))


@pytest.fixture
def broken(bank, launch):
    """A bank whose welcome has set the openings at 1 and 4 aside; its NATS server runs on."""
    change_reaction(bank, MENDED, BROKEN)
    change_reaction(bank, 'start="first"', 'start="first", max_deliveries=1')
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    serving = launch("serve", "--no-services", "--no-projections", cwd=bank)
    read_until(serving, "stop with Ctrl-C")
    deadline = time.monotonic() + 30
    while len(dead_letters(bank, "welcome")) < 2:
        assert time.monotonic() < deadline
    interrupt(serving)
    return bank


def test_what_a_reaction_could_not_handle_is_listed_shown_and_skipped(broken):
    listed = dead_letters(broken)
    line = eskit("deadletter", "list", cwd=broken).out.splitlines()[0]
    shown = eskit("deadletter", "show", "welcome", "1", cwd=broken)
    unconfirmed = eskit("deadletter", "skip", "welcome", "1", *WHY, cwd=broken)
    dry = eskit("deadletter", "skip", "welcome", "1", *WHY, "--dry-run", cwd=broken)
    before = dead_letters(broken, "welcome")
    skipped = eskit("deadletter", "skip", "welcome", "1", *WHY, "--by", "ann", "--yes", cwd=broken)
    after = dead_letters(broken, "welcome")
    again = eskit("deadletter", "skip", "welcome", "1", *WHY, "--yes", cwd=broken)

    assert [(item["subscription"], item["state"], item["position"]) for item in listed] == [
        ("welcome", "failed", 1),
        ("welcome", "failed", 4),
    ]
    assert listed[0]["error"] == "KeyError: '\\x1b[31meur'"
    assert line.startswith("welcome  failed  1  Account-acc-001")
    assert "Traceback" in shown.out
    assert "\x1b" not in shown.out
    assert "eskit deadletter retry welcome 1" in shown.out
    assert (unconfirmed.code, dry.code) == (2, 0)
    assert "Never handle 1 account.v1.AccountOpenedEvent of Account-acc-001" in unconfirmed.err
    assert "nothing done" in dry.out
    assert before == listed
    assert skipped.out == "welcome  skips 1 account.v1.AccountOpenedEvent of Account-acc-001\n"
    assert [(item["position"], item["state"]) for item in after] == [(4, "failed"), (1, "skipped")]
    assert (after[1]["reason"], after[1]["decided_by"]) == ("ticket 7", "ann")
    assert again.code == 1
    assert "waits for a decision" in again.err


@pytest.mark.promise("dead-letters-wait")
def test_a_retry_sends_the_commands_of_the_mended_reaction_once(broken):
    retry = ("deadletter", "retry", "welcome", "1", *WHY)
    too_early = eskit(*retry, "--yes", cwd=broken)
    failed_twice = eskit("deadletter", "show", "welcome", "1", "--json", cwd=broken).json["data"]
    change_reaction(broken, BROKEN, MENDED.replace("WELCOME_FROM", "0"))
    dry = eskit(*retry, "--dry-run", cwd=broken)
    asked = eskit(*retry, cwd=broken)
    events_before = eskit("store", "info", "--json", cwd=broken).json["data"]["events"]
    done = eskit(*retry, "--yes", "--json", cwd=broken)
    twice = eskit(*retry, "--yes", cwd=broken)
    events = eskit("stream", "read", "Account-acc-001", "--json", cwd=broken).records

    assert too_early.code == 1
    assert "failed again on 1 account.v1.AccountOpenedEvent" in too_early.err
    assert "It stays a dead letter" in too_early.err
    assert failed_twice["attempts"] == 2
    assert (dry.code, asked.code, events_before) == (0, 2, 4)
    assert done.json["data"] == {"name": "welcome", "handled": 1, "left": 1}
    assert [event["version"] for event in events] == [1, 2, 3, 4]
    assert events[-1]["data"]["amount"] == "100.00"
    assert twice.code == 1
    assert [item["position"] for item in dead_letters(broken)] == [4]


def test_a_subscription_of_another_program_is_listed_and_skipped_not_retried(broken):
    async def subscribe_and_fail() -> None:
        def fail(event):
            raise RuntimeError("no mail")

        async with connected(url_of(broken)) as connection, asyncio.timeout(30):
            bus = nats_bus(connection, stream="BANK_EVENTS", prefix="bank.events")
            subscription = Subscription(name="mailer", start="first", max_deliveries=1)
            subscriber = await bus.subscribe(subscription, fail)
            while len(await bus.dead_letters.waiting("mailer")) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await subscriber.stop()

    asyncio.run(subscribe_and_fail())
    listed = dead_letters(broken)
    shown = eskit("deadletter", "show", "mailer", "2", cwd=broken)
    retried = eskit("deadletter", "retry", "mailer", "2", *WHY, "--yes", cwd=broken)
    skipped = eskit("deadletter", "skip", "mailer", "2", *WHY, "--yes", cwd=broken)

    assert [item["subscription"] for item in listed] == ["mailer"] * 4 + ["welcome"] * 2
    assert "RuntimeError: no mail" in shown.out
    assert "try again" not in shown.out
    assert retried.code == 2
    assert "its handler is not here" in retried.err
    assert skipped.code == 0
    assert len(dead_letters(broken, "mailer")) == 4


def test_without_nats_the_list_says_what_it_could_not_look_at(bank, launch):
    never_used = eskit("deadletter", "list", cwd=bank)
    server = launch("nats", "start", cwd=bank)
    read_until(server, "until Ctrl-C")
    interrupt(server)
    shown = eskit("deadletter", "list", cwd=bank)
    as_json = eskit("deadletter", "list", "--json", cwd=bank).json
    one = eskit("deadletter", "list", "welcome", cwd=bank)
    other = eskit("deadletter", "list", "mailer", cwd=bank)
    unknown = eskit("deadletter", "list", "acount-balance", cwd=bank)
    configure(bank, nats="nats://127.0.0.1:1")
    away = eskit("deadletter", "list", cwd=bank)

    assert (never_used.out, never_used.err) == ("No dead letters\n", "")
    assert (shown.code, shown.out) == (0, "No dead letters of projections\n")
    assert "subscriptions were not looked at: No NATS server" in shown.err
    assert as_json["diagnostics"][0]["code"] == "SUBSCRIPTIONS_NOT_LISTED"
    assert (one.code, one.out) == (0, "No dead letters\n")
    assert other.code == 1
    assert unknown.code == 1
    assert "Did you mean account-balance?" in unknown.err
    assert away.code == 0
    assert "cannot be reached" in away.err


def test_looking_creates_nothing_on_the_broker(bank, launch):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")

    assert dead_letters(bank) == []
    assert dead_letters(bank, "welcome") == []

    async def streams() -> int:
        async with connected(url_of(bank)) as connection:
            return (await connection.jetstream().account_info()).streams

    assert asyncio.run(streams()) == 0
