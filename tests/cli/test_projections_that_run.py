"""Projections under `eskit serve`: who runs them, who stands by, what hangs, what goes on."""

from __future__ import annotations

import json
import re
import signal
import urllib.error
import urllib.request

import pytest

from tests.support.running import (
    DEPOSIT,
    break_deposits,
    configure,
    eskit,
    interrupt,
    move,
    read_until,
)

ONLY_PROJECTIONS = ("serve", "--no-services", "--no-relay", "--no-reactions")


def statuses(bank) -> dict[str, dict]:
    found = eskit("project", "status", "--json", cwd=bank)
    return {status["name"]: status for status in found.json["data"]}


def change_deposits(bank, old: str, new: str) -> None:
    module = bank / "bank" / "projections" / "account_balance.py"
    module.write_text(module.read_text().replace(old, new, 1))


@pytest.mark.promise("projections-fail-over")
def test_a_second_serve_stands_by_and_takes_over_when_the_first_is_killed(launch, bank):
    first = launch(*ONLY_PROJECTIONS, cwd=bank)
    read_until(first, "stop with Ctrl-C")
    second = launch(*ONLY_PROJECTIONS, "--health", "0", cwd=bank)
    lines = read_until(second, f"standing by: process {first.pid} runs activity-log")
    before = statuses(bank)

    first.send_signal(signal.SIGKILL)
    read_until(second, "resumed activity-log")
    move(bank, DEPOSIT, "acc-001", "1.00")
    url = re.search(r"http://\S+/health", "".join(lines))[0]
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - what eskit printed
        healthy = json.load(answer)["healthy"]
    after = statuses(bank)
    ended = interrupt(second)

    assert {status["holder"] for status in before.values()} == {first.pid}
    assert {status["holder"] for status in after.values()} == {second.pid}
    assert healthy
    assert ended.code == 0, ended.err


def test_serve_goes_on_when_the_event_before_which_it_stands_is_skipped(launch, bank):
    break_deposits(bank)
    process = launch(*ONLY_PROJECTIONS, cwd=bank)
    read_until(process, "account-balance stopped before 2", stream="stderr")
    stopped = statuses(bank)["account-balance"]

    skipped = eskit(
        *("deadletter", "skip", "account-balance", "2", "--reason", "ticket 7", "--yes"), cwd=bank
    )
    read_until(process, "resumed account-balance")
    caught_up = eskit("project", "run", "--once", "activity-log", cwd=bank)
    while statuses(bank)["account-balance"]["lag"]:
        pass
    found = eskit("project", "status", cwd=bank)
    ended = interrupt(process)

    assert (stopped["state"], stopped["running"]) == ("failed", False)
    assert "A process that runs it resumes automatically" in skipped.out
    assert caught_up.code == 1
    assert "It handles new events by itself" in caught_up.err
    assert found.code == 0, found.out
    assert ended.code == 0, ended.err


def test_what_status_advises_works_while_serve_runs(launch, bank):
    break_deposits(bank)
    process = launch(*ONLY_PROJECTIONS, cwd=bank)
    read_until(process, "account-balance stopped before 2", stream="stderr")
    told = eskit("project", "status", cwd=bank)
    change_deposits(bank, 'raise KeyError("\\x1b[31meur")', '"""Set the balance."""')

    again = eskit("project", "run", "--once", "account-balance", cwd=bank)
    read_until(process, "resumed account-balance")
    ended = interrupt(process)

    assert "eskit project run --once account-balance" in told.out
    assert again.code == 0, again.err
    assert ended.code == 0, ended.err


def test_a_handler_that_hangs_is_not_healthy_and_seen_by_status_with_its_stack(launch, bank):
    configure(bank, slow_after="1s")
    change_deposits(bank, '"""Set the balance."""', "import time; time.sleep(3_600)")
    process = launch(*ONLY_PROJECTIONS, "--health", "0", cwd=bank)
    lines = read_until(process, "stop with Ctrl-C")
    read_until(process, "It is here", stream="stderr")
    url = re.search(r"http://\S+/health", "".join(lines))[0]

    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(url, timeout=10)  # noqa: S310 - what eskit printed
    told = json.load(answer.value)
    while not statuses(bank)["account-balance"]["slow"]:
        pass
    found = eskit("project", "status", "account-balance", cwd=bank)

    what = "The handler of account-balance for 2 account.v1.MoneyDepositedEvent of Account-acc-001"
    (projections,) = (one for one in told["services"] if one["service"] == "projections")
    assert what in projections["error"]
    assert found.code == 1
    assert " ".join(what.split()) in " ".join(found.out.split())
    assert "time.sleep(3_600)" in found.out
    assert re.search(rf"^account-balance +running .* {process.pid} ", found.out, re.MULTILINE)


def test_events_that_wait_while_nobody_runs_projections_are_a_warning(bank):
    waiting = eskit("project", "status", cwd=bank)
    as_json = eskit("project", "status", "--json", cwd=bank).json
    listed = eskit("project", "list", cwd=bank)
    followed = eskit("project", "run", "--once", cwd=bank)
    after = eskit("project", "status", cwd=bank)

    assert waiting.code == 0
    assert waiting.out.count("no process runs it") == 2
    assert "no process runs them" in waiting.err
    assert "eskit project run account-balance activity-log" in waiting.err
    assert listed.out.count("no process runs it") == 2
    assert [found["code"] for found in as_json["diagnostics"]] == ["PROJECTION_NOT_RUN"]
    assert [status["running"] for status in as_json["data"]] == [False, False]
    assert followed.code == 0
    assert after.err == ""


def test_rebuilds_of_several_do_not_depend_on_each_other(bank):
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    break_deposits(bank)

    rebuilt = eskit("project", "rebuild", "account-balance", "activity-log", cwd=bank)
    status = eskit("project", "status", cwd=bank)
    shown = eskit("deadletter", "show", "account-balance", "2", cwd=bank)

    assert rebuilt.code == 1
    assert re.search(r"account-balance +0 events .*stopped", rebuilt.out)
    assert re.search(r"activity-log +4 events +position 4", rebuilt.out)
    assert "The rebuild of account-balance stopped before 2" in rebuilt.err
    assert status.code == 0
    assert "rebuild stopped before 2" in status.out
    assert "eskit project rebuild account-balance" in status.out
    assert "try again  eskit project rebuild account-balance" in shown.out


def test_a_comparison_that_fails_says_so_and_what_it_was(bank):
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    break_deposits(bank)

    compared = eskit("project", "diff", "account-balance", cwd=bank)
    debugged = eskit("--debug", "project", "diff", "account-balance", cwd=bank)

    assert compared.code == 1
    assert "The comparison of account-balance stopped before 2" in compared.err
    assert "eskit --debug project diff account-balance" in compared.err
    assert "account_balance.py" in debugged.err


def test_a_run_tells_how_much_of_how_much_is_done_and_nothing_where_nothing_is_to_do(bank):
    ran = eskit("project", "run", "--once", "--json", cwd=bank)
    again = eskit("project", "run", "--once", "--json", cwd=bank)

    told = [json.loads(line)["progress"] for line in ran.err.splitlines()]
    assert told[-1]["done"] == told[-1]["total"] == 4
    assert again.err == ""
