"""Looking into projections and deciding about them from the command line, on a real bank."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.support.running import DEPOSIT, break_deposits, eskit, interrupt, move, read_until

WHY = ("--reason", "wrong rates")


@pytest.fixture
def ran(bank):
    """The bank with its projections at the head."""
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    return bank


def change_live_row(bank, sql: str) -> None:
    with closing(sqlite3.connect(bank / "bank_read.db")) as connection, connection:
        connection.execute(sql)
    connection.close()


def status_of(bank, name="account-balance"):
    return eskit("project", "status", name, "--json", cwd=bank).json["data"][0]


def test_diff_says_equal_with_exit_0(ran):
    shown = eskit("project", "diff", "account-balance", cwd=ran)
    as_json = eskit("project", "diff", "account-balance", "--json", cwd=ran).json

    assert shown.code == 0
    assert shown.out.startswith("account-balance  equal  at 4, 4 events handled again\n")
    assert (as_json["status"], as_json["data"]["equal"]) == ("ok", True)


def test_diff_shows_each_row_that_drifted_with_exit_3(ran):
    change_live_row(
        ran, "UPDATE account_balance SET balance = '999.00' WHERE account_id = 'acc-002'"
    )

    shown = eskit("project", "diff", "account-balance", cwd=ran)
    as_json = eskit("project", "diff", "account-balance", "--json", cwd=ran)

    assert (shown.code, as_json.code) == (3, 3)
    assert "account-balance  different  at 4" in shown.out
    assert "balance='999.00'" in shown.out
    assert "balance='5.00'" in shown.out
    assert "eskit project rebuild account-balance" in shown.out
    assert as_json.json["status"] == "failed"
    (table,) = [t for t in as_json.json["data"]["tables"] if t["differing"]]
    assert table["examples"][0]["live"]["balance"] == "999.00"
    assert table["examples"][0]["rebuilt"]["balance"] == "5.00"


def test_a_paused_projection_stays_until_it_is_resumed(ran):
    paused = eskit("project", "pause", "account-balance", *WHY, cwd=ran)
    move(ran, DEPOSIT, "acc-001", "1.00")
    run = eskit("project", "run", "--once", "account-balance", cwd=ran)
    waiting = status_of(ran)
    shown = eskit("project", "status", cwd=ran)
    resumed = eskit("project", "resume", "account-balance", *WHY, "--json", cwd=ran)
    again = eskit("project", "run", "--once", cwd=ran)

    assert (paused.code, resumed.code, again.code) == (0, 0, 0)
    assert paused.out == "account-balance  paused at 4\n"
    assert run.code == 1
    assert "is paused: wrong rates" in run.err
    assert (waiting["state"], waiting["lag"], waiting["pause"]) == ("paused", 1, "wrong rates")
    assert "paused: wrong rates" in shown.out
    assert resumed.json["data"]["state"] == "idle"
    assert status_of(ran)["lag"] == 0


def test_a_decision_without_a_reason_is_wrong_usage(ran):
    for words in (
        ("project", "pause", "account-balance"),
        ("checkpoint", "set", "account-balance", "2", "--yes"),
        ("checkpoint", "reset", "account-balance", "--yes", "--reason", " "),
    ):
        refused = eskit(*words, cwd=ran)

        assert refused.code == 2
        assert "reason" in refused.err
    assert status_of(ran)["position"] == 4


def test_checkpoint_set_shows_what_it_would_do_asks_and_does_it(ran):
    words = ("checkpoint", "set", "activity-log", "1", *WHY)

    dry = eskit(*words, "--dry-run", cwd=ran)
    unconfirmed = eskit(*words, cwd=ran)
    before = status_of(ran, "activity-log")["position"]
    done = eskit(*words, "--yes", "--json", cwd=ran)

    assert dry.out.splitlines() == [
        "activity-log from 4 to 1: 3 events handled again",
        "A dry run: nothing was changed",
    ]
    assert unconfirmed.code == 2
    assert "--yes" in unconfirmed.err
    assert before == 4
    assert done.json["data"] == {
        "name": "activity-log",
        "before": 4,
        "after": 1,
        "again": 3,
        "skipped": 0,
        "changed": True,
    }
    assert status_of(ran, "activity-log")["position"] == 1


def test_checkpoint_set_past_the_head_is_refused(ran):
    refused = eskit("checkpoint", "set", "activity-log", "5", *WHY, "--yes", cwd=ran)

    assert refused.code == 2
    assert "outside the log, which ends at 4" in refused.err


def test_checkpoint_reset_begins_at_the_first_event(ran):
    done = eskit("checkpoint", "reset", "activity-log", *WHY, "--yes", cwd=ran)

    assert done.out == "activity-log from 4 to 0: 4 events handled again\n"
    assert status_of(ran, "activity-log")["lag"] == 4


def test_rebuild_dry_run_counts_and_estimates(ran):
    shown = eskit("project", "rebuild", "account-balance", "--dry-run", cwd=ran)
    as_json = eskit("project", "rebuild", "account-balance", "--dry-run", "--json", cwd=ran)

    assert shown.out.startswith("account-balance  would handle 4 events in about 0.")
    (estimate,) = as_json.json["data"]
    assert (estimate["events"], estimate["measured"]) == (4, 4)
    assert estimate["rate"] > 0
    assert list(ran.glob("bank_read.db-estimate*")) == []


def test_run_dry_run_handles_what_is_new_and_keeps_nothing(bank):
    dry = eskit("project", "run", "--dry-run", "--json", cwd=bank)

    assert dry.code == 0
    assert {r["name"]: r["events"] for r in dry.json["data"]} == {
        "account-balance": 4,
        "activity-log": 4,
    }
    assert (status_of(bank)["position"], status_of(bank)["lag"]) == (0, 4)


def test_run_dry_run_shows_what_would_fail_and_records_nothing(bank):
    break_deposits(bank)

    dry = eskit("project", "run", "--dry-run", cwd=bank)

    assert dry.code == 1
    assert "account-balance stopped before 2" in dry.err
    assert status_of(bank)["state"] == "idle"


def test_run_reports_each_projection_that_failed(bank):
    break_deposits(bank)
    log = bank / "bank" / "projections" / "activity_log.py"
    log.write_text(log.read_text().replace("context.db.execute(", "context.db.nothing(", 1))

    run = eskit("project", "run", "--once", cwd=bank)
    as_json = eskit("project", "run", "--once", "--json", cwd=bank)

    assert (run.code, as_json.code) == (1, 1)
    assert "account-balance stopped before 2" in run.err
    assert "activity-log stopped before 1" in run.err
    assert (
        as_json.json["error"]["message"] == "2 projections stopped: account-balance, activity-log"
    )
    assert all(item["error"] for item in as_json.json["data"])


def test_status_with_a_name_gives_the_traceback_as_json_too(bank):
    break_deposits(bank)
    eskit("project", "run", "--once", cwd=bank)

    named = status_of(bank)
    every = eskit("project", "status", "--json", cwd=bank).json["data"]

    assert "Traceback" in named["failures"][0]["traceback"]
    assert "traceback" not in every[0]["failures"][0]


def test_status_watch_shows_one_look_after_another_until_ctrl_c(bank, launch):
    process = launch("project", "status", "--watch", "--every", "0.1", "--json", cwd=bank)
    lines = [*read_until(process, "account-balance"), *read_until(process, "account-balance")]

    ended = interrupt(process)

    assert ended.code == 0
    assert [json.loads(line)[0]["name"] for line in lines] == ["account-balance"] * 2


def test_a_projection_renamed_in_the_app_takes_its_rows_along_and_one_removed_is_dropped(ran):
    code = ran / "bank" / "projections" / "activity_log.py"
    code.write_text(
        code.read_text().replace('Projection("activity-log"', 'Projection("activities"')
    )
    stumbled = eskit("project", "run", "--once", cwd=ran)
    renamed = eskit("project", "rename", "activity-log", "activities", *WHY, "--json", cwd=ran)
    again = eskit("project", "run", "--once", "--json", cwd=ran)
    code.write_text(code.read_text().replace('Projection("activities"', 'Projection("others"'))
    unasked = eskit("project", "drop", "activities", *WHY, cwd=ran)
    rehearsed = eskit("project", "drop", "activities", *WHY, "--dry-run", cwd=ran)
    dropped = eskit("project", "drop", "activities", *WHY, "--yes", cwd=ran)
    anew = eskit("project", "run", "--once", "--json", cwd=ran)

    assert stumbled.code == 1
    assert "eskit project rename activity-log activities" in stumbled.err
    assert renamed.json["data"] == {"old": "activity-log", "new": "activities", "position": 4}
    assert [report["events"] for report in again.json["data"]] == [0, 0]
    assert (unasked.code, rehearsed.code) == (2, 0)
    assert rehearsed.out == "activities  would be dropped; it stood at 4\n"
    assert dropped.out == "activities  dropped; it stood at 4\n"
    assert sorted(report["events"] for report in anew.json["data"]) == [0, 4]


def test_a_projection_that_is_in_the_app_is_neither_renamed_nor_dropped(ran):
    for words in (("rename", "activity-log", "account-balance"), ("drop", "activity-log", "--yes")):
        refused = eskit("project", *words, *WHY, cwd=ran)

        assert refused.code == 2
        assert "is still in the app" in refused.err
