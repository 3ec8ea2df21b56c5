"""What a screen says is so, and what it advises works."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from eskit.cli.commands.reaction import format_failed, format_statuses
from eskit.cli.commands.relay import format_overview
from eskit.cli.terminal.text import plain, width
from eskit.messaging.dead_letters import call_handler, make_dead_letter
from eskit.messaging.follower_status import Attempt, FollowerStatus
from eskit.processes.holding import Holder
from eskit.reports.relay import RelayOverview
from tests.support.running import (
    break_deposits,
    configure,
    eskit,
    free_port,
    interrupt,
    read_until,
)

SEVERAL_SERVERS = "nats://127.0.0.1:9,nats://127.0.0.1:19"


def failing_reaction(**changes):
    known = {
        "name": "grant-bonus",
        "state": "failed",
        "position": 128_399,
        "head": 128_400,
        "lag": 1,
        "error": "trying again to handle 128,400: ValueError: the mail server said no at length",
        "trouble": "",
        "updated_at": None,
        "oldest_seconds": 12.0,
        "in_flight": (),
        "waiting": (Attempt(position=128_400, attempts=4, since=None),),
        "set_aside": 12,
        "skipped": 0,
        "pause": "",
        "needed": 0,
        "holder": Holder(pid=31_337),
    }
    return FollowerStatus(**(known | changes))


def test_only_a_server_that_eskit_can_start_is_advised_to_be_started(bank):
    one = eskit("relay", "--once", "--nats", "nats://127.0.0.1:9", cwd=bank)
    several = eskit("relay", "--once", "--nats", SEVERAL_SERVERS, cwd=bank)
    refused = eskit("nats", "start", "--nats", SEVERAL_SERVERS, cwd=bank)

    assert "nats start" in one.err
    assert "nats start" not in several.err
    assert "Check the address" in several.err
    assert "which eskit does not start" in refused.err


def test_a_store_that_is_not_there_is_not_said_to_be_made_by_what_only_reads(cli):
    ran = cli("store", "verify", "--store", "sqlite:///none.db")

    assert "Check its name, or create it: eskit --store sqlite:///none.db store init" in ran.err
    assert "writes" not in ran.err


def test_of_projections_that_another_process_runs_the_position_is_told_and_who_runs_them(
    bank, launch
):
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    serving = launch("serve", "--no-services", "--no-relay", "--no-reactions", cwd=bank)
    read_until(serving, "stop with Ctrl-C")
    second = launch("project", "run", cwd=bank)
    read_until(second, "runs account-balance", stream="stderr")
    read_until(second, "runs activity-log", stream="stderr")

    ended = interrupt(second)
    interrupt(serving)

    lines = ended.out.splitlines()
    assert len(lines) == 2
    assert all("position 4" in line for line in lines)
    assert all(line.endswith(f"process {serving.pid} runs it") for line in lines)


def test_what_serve_says_of_a_stopped_projection_ends_with_its_restart(bank, launch):
    break_deposits(bank)
    serving = launch("serve", "--no-services", "--no-relay", "--no-reactions", cwd=bank)

    told = read_until(serving, "eskit project status", stream="stderr")
    interrupt(serving)

    assert told[-1].rstrip().endswith("Correct it, then restart this process.")


def test_serve_says_once_and_at_the_end_what_waits_for_nats(bank, launch):
    configure(bank, nats=f"nats://127.0.0.1:{free_port()}")
    serving = launch("serve", "--no-projections", "--no-reactions", cwd=bank)

    lines = read_until(serving, "stop with Ctrl-C")
    lines += read_until(serving, "") if not any("relay" in line for line in lines[:-1]) else []
    interrupt(serving)

    relay = [line for line in lines if line.startswith("relay")]
    assert len(relay) == 1
    assert relay[0].split(maxsplit=1)[1].startswith("waiting for NATS")
    (up,) = [line for line in lines if line.startswith("eskit")]
    assert "up without connection, services, relay" in up


def test_the_status_of_a_reaction_fits_a_terminal_of_80_columns():
    lines = [plain(line) for line in format_statuses([failing_reaction()], below=True)]
    again = [plain(line) for line in format_failed([failing_reaction(set_aside=0)])]

    assert max(map(width, lines)) <= 80
    assert lines[0].endswith("holder")
    assert "tries again by itself" in again[-1]


def test_the_relay_of_a_restored_store_advises_to_republish_once():
    hint = "Publish this log in its place: eskit relay --republish"
    blocked = RelayOverview(
        state="blocked",
        holder=None,
        position=4,
        head=3,
        other_store=True,
        error="The stream holds the log of another store",
        hint=hint,
        skips=[],
    )

    told = "\n".join(map(plain, format_overview(blocked)))

    assert told.count("--republish") == 1


async def test_the_traceback_of_a_handler_begins_at_the_handler():
    def handler(_event):
        raise ValueError("no rates")

    called = call_handler(handler, None, name="welcome")
    (error,) = await asyncio.gather(called, return_exceptions=True)
    traceback = make_dead_letter("welcome", SimpleNamespace(), error, 1).traceback

    assert "in handler" in traceback
    assert "in call_handler" not in traceback
    assert "in _in_thread" not in traceback


@pytest.mark.parametrize("position", ["-5", "-1,000"])
def test_a_negative_position_is_said_to_be_one(cli, position):
    ran = cli("checkpoint", "set", "balances", position, "--reason", "why")

    assert ran.code == 2
    assert f"{position} is less than 0" in ran.err
    assert "option" not in ran.err


@pytest.mark.parametrize(
    ("command", "stream"),
    [("export", "output"), ("backup", "output"), ("import", "input"), ("restore", "input")],
)
def test_a_dash_is_refused_as_the_stream_that_it_would_be(cli, store_url, command, stream):
    ran = cli("store", command, "-", "--store", store_url)

    assert ran.code == 2
    assert ran.err.startswith(f"error  FILE: Name a file: standard {stream} is not supported")


def test_what_cannot_be_asked_without_a_terminal_is_one_sentence(bank):
    ran = eskit("stream", "erase", "Account-acc-001", "--reason", "request 17", cwd=bank)

    assert ran.code == 2
    assert ran.err.startswith(
        "error  Cannot prompt without a terminal: Erase Account-acc-001 (3 events) for good?\n"
    )
    assert "Confirm with --yes." in ran.err


@pytest.mark.parametrize("name", ["account-balance", "welcome"])
def test_an_event_that_does_not_wait_is_named_as_it_was_typed(bank, name):
    ran = eskit("deadletter", "show", name, "abc", cwd=bank)

    assert "No event 'abc' waits for a decision in" in ran.err
    assert f"Name one by its position or id: eskit deadletter list {name}" in ran.err


def test_only_what_answers_calls_warns_of_a_service_that_nothing_answers(bank, launch):
    app = bank / "bank" / "app.py"
    app.write_text(app.read_text().replace("    queries=[AccountQueries],\n", ""))

    ran = eskit("project", "run", "--once", cwd=bank)
    serving = launch("serve", "--no-relay", "--no-projections", "--no-reactions", cwd=bank)
    told = read_until(serving, "which its protos declare", stream="stderr")
    interrupt(serving)

    assert (ran.code, ran.err) == (0, "")
    assert "account.v1.AccountQueryService" in told[-1]
