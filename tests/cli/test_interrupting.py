"""Ctrl-C: a clean stop for what runs until it is stopped, exit 130 for what is broken off."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.running import DEPOSIT, break_deposits, eskit, interrupt, move, read_until


def slow_down(bank, seconds):
    """Make the handler of deposits take its time."""
    module = bank / "bank" / "projections" / "account_balance.py"
    text = module.read_text()
    head = "def deposited("
    assert head in text
    before, _, after = text.partition(head)
    signature, _, body = after.partition(":\n")
    slow = f"    __import__('time').sleep({seconds})\n"
    docstring, _, rest = body.partition('"""\n')
    module.write_text(f'{before}{head}{signature}:\n{docstring}"""\n{slow}{rest}')


def balances(bank):
    ran = eskit("project", "status", "--json", cwd=bank)
    return {item["name"]: item for item in ran.json["data"]}


def test_ctrl_c_ends_project_run_after_the_batch_with_exit_0(launch, bank):
    slow_down(bank, 1.0)
    process = launch("project", "run", "--json", cwd=bank)
    read_until(process, "until Ctrl-C", stream="stderr")
    time.sleep(0.3)

    ended = interrupt(process)

    assert ended.code == 0
    assert {report["name"] for report in ended.json["data"]} == {
        "account-balance",
        "activity-log",
    }
    status = balances(bank)["account-balance"]
    assert (status["state"], status["error"]) == ("idle", None)


def test_project_run_follows_new_events(launch, bank):
    process = launch("project", "run", cwd=bank)
    read_until(process, "until Ctrl-C", stream="stderr")

    move(bank, DEPOSIT, "acc-001", "1.00")
    deadline = time.monotonic() + 20
    while balances(bank)["account-balance"]["position"] < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    status = balances(bank)["account-balance"]
    ended = interrupt(process)

    assert (status["position"], status["state"]) == (5, "running")
    assert ended.code == 0


def test_ctrl_c_breaks_a_rebuild_off_with_exit_130_and_leaves_the_live_model(launch, bank):
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    query = ("call", "account.v1.AccountQueryService/ListAccounts", "--json")
    before = eskit(*query, cwd=bank).json["data"]
    slow_down(bank, 60)
    process = launch("project", "rebuild", "account-balance", cwd=bank)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if balances(bank)["account-balance"]["state"] == "rebuilding":
            break
        time.sleep(0.1)
    time.sleep(0.5)

    ended = interrupt(process)

    assert (ended.code, ended.out, ended.err) == (130, "", "interrupted\n")
    assert eskit(*query, cwd=bank).json["data"] == before
    assert balances(bank)["account-balance"]["position"] == 4


def test_ctrl_c_ends_tail_with_exit_0_and_says_how_to_go_on(launch, bank):
    process = launch("tail", cwd=bank)
    lines = read_until(process, "Account-acc-002")

    ended = interrupt(process)

    assert len(lines) == 4
    assert ended.code == 0
    assert ended.err == "4 events · last 4 · continue with: eskit tail --after 4\n"


def test_tail_from_the_store_follows_other_processes(launch, bank):
    process = launch("tail", "--from", "-1", "--json", "--source", "store", cwd=bank)
    read_until(process, "AccountOpened")
    move(bank, DEPOSIT, "acc-001", "7.00")

    (line,) = read_until(process, "MoneyDeposited")
    ended = interrupt(process)

    assert json.loads(line)["data"]["amount"] == "7.00"
    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize("source", ["store", "nats"])
def test_tail_ends_cleanly_when_its_reader_goes_although_nothing_happens(launch, bank, source):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0
    process = launch("tail", "--from", "first", "--source", source, cwd=bank)
    for _ in range(4):
        process.stdout.readline()

    process.stdout.close()

    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_tail_ends_cleanly_when_its_reader_goes_in_the_middle(launch, bank):
    process = launch("tail", "--from", "first", "--no-follow", "--expanded", cwd=bank)
    process.stdout.close()

    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_nats_start_runs_until_ctrl_c_and_is_found_by_others(launch, bank):
    process = launch("nats", "start", cwd=bank)
    read_until(process, "until Ctrl-C")

    second = eskit("nats", "start", cwd=bank)
    relayed = eskit("relay", "--once", "--json", cwd=bank)
    tailed = eskit("tail", "--from", "first", "--no-follow", "--source", "nats", "--json", cwd=bank)
    stored = eskit(
        "tail", "--from", "first", "--no-follow", "--source", "store", "--json", cwd=bank
    )
    ended = interrupt(process)

    assert second.code == 1
    assert "runs already" in second.err
    assert relayed.json["data"]["published"] == 4
    assert tailed.code == 0
    assert tailed.records == stored.records
    assert ended.code == 0
    assert not (bank / ".eskit" / "nats.json").exists()


def test_serve_says_what_runs_and_ends_with_exit_0(launch, bank):
    process = launch("serve", cwd=bank)
    lines = "".join(read_until(process, "stop with Ctrl-C"))

    ended = interrupt(process)

    for part in ("nats", "projections", "services", "relay"):
        assert f"{part:<16}  ready" in lines
        assert f"{part:<16}  stopped" in ended.out
    assert (ended.code, ended.err) == (0, "")


def test_a_second_serve_says_at_once_who_runs_the_projections_and_waits(launch, bank):
    first = launch("serve", cwd=bank)
    read_until(first, "up; stop with Ctrl-C")

    second = launch("serve", cwd=bank)
    told = read_until(second, "runs account-balance")
    helper = launch("serve", "--no-projections", "--no-relay", cwd=bank)
    read_until(helper, "up; stop with Ctrl-C")

    assert f"process {first.pid} runs account-balance" in told[-1]
    assert interrupt(second).code == 0
    assert interrupt(helper).code == 0
    assert interrupt(first).code == 0


@pytest.mark.parametrize("command", [["serve"], ["project", "run"]])
def test_a_projection_that_stops_is_told_of_at_once_and_the_rest_runs_on(launch, bank, command):
    break_deposits(bank)
    process = launch(*command, cwd=bank)
    lines = read_until(process, "eskit project status account-balance", stream="stderr")

    move(bank, DEPOSIT, "acc-002", "1.00")
    deadline = time.monotonic() + 20
    while balances(bank)["activity-log"]["position"] < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    status = balances(bank)
    ended = interrupt(process)

    assert "KeyError" in "".join(lines)
    assert "\x1b" not in "".join(lines)
    assert (status["account-balance"]["state"], status["account-balance"]["lag"]) == ("failed", 4)
    assert (status["activity-log"]["state"], status["activity-log"]["lag"]) == ("running", 0)
    assert ended.code == 1
    assert ("KeyError" in ended.err) == (command == ["serve"])  # why it ends with 1, at its end
