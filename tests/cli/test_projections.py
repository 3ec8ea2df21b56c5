"""Projections and checkpoints from the command line, on a real bank."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.running import DEPOSIT, break_deposits, eskit, move, open_account

BALANCE = "account.v1.AccountQueryService/GetAccountBalance"


def by_name(ran):
    return {item["name"]: item for item in ran.json["data"]}


def test_status_before_during_and_after(bank):
    fresh = by_name(eskit("project", "status", "--json", cwd=bank))
    ran = eskit("project", "run", "--once", "--json", cwd=bank)
    done = by_name(eskit("project", "list", "--json", cwd=bank))

    assert (
        fresh["account-balance"].items()
        >= {
            "name": "account-balance",
            "state": "idle",
            "position": 0,
            "head": 4,
            "lag": 4,
            "error": None,
        }.items()
    )
    assert ran.code == 0
    assert set(by_name(ran)["activity-log"]) >= {"name", "events", "position", "seconds"}
    assert by_name(ran)["activity-log"]["events"] == 4
    assert (done["account-balance"]["position"], done["account-balance"]["lag"]) == (4, 0)


def test_run_makes_no_new_store_for_the_read_models_of_one_that_is_gone(bank):
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    (bank / "bank.db").rename(bank / "elsewhere.db")

    ran = eskit("project", "run", "--once", cwd=bank)

    assert ran.code == 1
    assert "There is no store at" in ran.err
    assert not (bank / "bank.db").exists()


@pytest.mark.parametrize("option", ["--once", "--dry-run", None])
def test_running_no_projections_says_so_and_makes_no_file(tmp_path, option):
    assert eskit("new", "project", "shop", cwd=tmp_path).code == 0
    shop = tmp_path / "shop"
    words = ("project", "run", *([option] if option else []))

    ran, as_json = eskit(*words, cwd=shop), eskit(*words, "--json", cwd=shop)

    assert (ran.code, ran.out) == (0, "No projections in this app\n")
    assert (as_json.code, as_json.json["data"]) == (0, [])
    assert list(shop.glob("*.db*")) == []


def test_run_takes_names_and_refuses_those_there_are_not(bank):
    one = eskit("project", "run", "--once", "activity-log", "--json", cwd=bank)
    unknown = eskit("project", "run", "--once", "activity-lag", cwd=bank)

    assert list(by_name(one)) == ["activity-log"]
    assert unknown.code == 1
    assert "Did you mean activity-log?" in unknown.err


def test_rebuild_ends_with_the_same_rows(bank):
    query = ("call", "account.v1.AccountQueryService/ListAccounts", "--json")
    before = eskit(*query, cwd=bank)

    rebuilt = eskit("project", "rebuild", "account-balance", "--json", cwd=bank)

    assert rebuilt.code == 0
    assert by_name(rebuilt)["account-balance"]["events"] == 4
    assert eskit(*query, cwd=bank).out == before.out
    assert [a["balance"] for a in before.json["data"]["accounts"]] == ["1200.25", "5.00"]


def test_every_command_that_touches_a_failed_projection_says_so_and_exits_1(bank):
    break_deposits(bank)

    run = eskit("project", "run", "--once", cwd=bank)
    status = eskit("project", "status", cwd=bank)
    as_json = eskit("project", "status", "--json", cwd=bank)
    why = eskit("project", "status", "account-balance", cwd=bank)
    query = eskit("call", BALANCE, "--data", '{"account_id":"acc-001"}', cwd=bank)
    rebuild = eskit("project", "rebuild", "account-balance", cwd=bank)

    assert [r.code for r in (run, status, as_json, why, query, rebuild)] == [1] * 6
    assert "KeyError" in run.err
    assert "account-balance stopped before 2 account.v1.MoneyDepositedEvent" in status.out
    assert "eskit project status account-balance" in status.out
    assert "Traceback" in why.out
    assert "account-balance" in query.err
    assert query.out == ""
    assert as_json.json["status"] == "error"
    assert as_json.json["error"]["code"] == "PROJECTION_FAILED"
    failed = by_name(as_json)["account-balance"]
    assert (failed["state"], failed["position"]) == ("failed", 1)
    assert by_name(as_json)["activity-log"]["state"] == "idle"
    for shown in (run.err, status.out, why.out, query.err, rebuild.err):
        assert "\x1b" not in shown
    assert "Traceback" not in run.err + query.err + rebuild.err


def test_a_mended_handler_goes_on_where_it_stopped(bank):
    module = bank / "bank" / "projections" / "account_balance.py"
    good = module.read_text()
    break_deposits(bank)
    assert eskit("project", "run", "--once", cwd=bank).code == 1
    module.write_text(good)

    mended = eskit("project", "run", "--once", "--json", cwd=bank)

    assert mended.code == 0
    assert by_name(mended)["account-balance"]["events"] == 3
    assert eskit("project", "status", cwd=bank).code == 0


def test_checkpoints_are_listed_and_shown_without_the_app(bank):
    assert eskit("checkpoint", "list", "--json", cwd=bank).json["data"] == []
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    (bank / "bank" / "app.py").unlink()

    listed = eskit("checkpoint", "list", "--json", cwd=bank)
    shown = eskit("checkpoint", "show", "account-balance", "--json", cwd=bank)
    missing = eskit("checkpoint", "show", "account-balanc", cwd=bank)

    assert [item["name"] for item in listed.json["data"]] == ["account-balance", "activity-log"]
    assert shown.json["data"]["position"] == 4
    assert set(shown.json["data"]) >= {"name", "position", "updated_at"}
    assert missing.code == 1
    assert "Did you mean account-balance?" in missing.err


def test_a_query_sees_what_was_just_written(bank):
    move(bank, DEPOSIT, "acc-001", "99.75")

    ran = eskit(
        "call", BALANCE, "--data", json.dumps({"account_id": "acc-001"}), "--json", cwd=bank
    )

    assert ran.json["data"]["balance"] == "1300.00"


def test_a_command_id_sent_again_changes_nothing(bank):
    data = json.dumps({"account_id": "acc-002", "amount": "1.00"})
    call = ("call", DEPOSIT, "--data", data, "--command-id", "one-and-only")

    first = eskit(*call, "--json", cwd=bank)
    again = eskit(*call, "--json", cwd=bank)
    shown = eskit(*call, cwd=bank)

    assert first.json["data"] == again.json["data"] == {"new_balance": "6.00", "version": "2"}
    assert "first response" in shown.out
    assert len(eskit("stream", "read", "Account-acc-002", "--json", cwd=bank).records) == 2


def test_replay_shows_state_and_changes(bank):
    ran = eskit("replay", "Account-acc-001", "--json", cwd=bank)
    earlier = eskit("replay", "Account-acc-001", "--to-version", "1", cwd=bank)
    nothing = eskit("replay", "Account-acc-001", "--at", "2001-01-01", cwd=bank)

    last = ran.records[-1]
    assert set(last) == {
        *("version", "global_position", "event_type", "recorded_at", "data", "state", "changes"),
    }
    assert last["state"]["balance"] == "1200.25"
    assert last["changes"] == [{"path": "balance", "old": "1250.50", "new": "1200.25"}]
    assert "State at version 1 of 3" in earlier.out
    assert 'owner_name  → "Alice"' in earlier.out
    assert "status      → OPEN" in earlier.out
    assert "Nothing had happened yet" in nothing.out


def test_replay_stops_at_an_age_as_at_a_time(bank):
    day_ago = eskit("replay", "Account-acc-001", "--at", "1d", cwd=bank)
    neither = eskit("replay", "Account-acc-001", "--at", "5x", cwd=bank)

    assert "Nothing had happened yet" in day_ago.out
    assert (neither.code, "like 5m" in neither.err) == (2, True)


@pytest.mark.parametrize("options", [(), ("--no-state",)])
def test_replay_shows_a_part_of_a_long_stream(bank, options):
    words = ("replay", "Account-acc-001", "--json", *options)
    whole = eskit(*words, cwd=bank).records

    part = eskit(*words, "--after", "1", "--limit", "1", cwd=bank)
    newest = eskit(*words, "--backward", "--limit", "2", cwd=bank)
    behind = eskit("replay", "Account-acc-001", "--after", "3", cwd=bank)

    assert part.records == [whole[1]]
    assert newest.records == [whole[2], whole[1]]
    assert "No event above version 3" in behind.out


def test_replay_says_what_was_erased(bank):
    opened = {"account_id": "acc-gone", "owner_name": "Zoe", "initial_balance": "1.00"}
    method = "account.v1.AccountCommandService/OpenAccount"
    eskit("call", method, "--data", json.dumps(opened), cwd=bank)
    eskit("stream", "erase", "Account-acc-gone", "--reason", "asked", "--yes", cwd=bank)

    shown = eskit("replay", "Account-acc-gone", cwd=bank)
    as_json = eskit("replay", "Account-acc-gone", "--json", cwd=bank)

    assert re.search(r"1  AccountOpened .*\n       erased\n", shown.out)
    assert (as_json.records[0]["data"], as_json.records[0]["changes"]) == (None, [])


def test_commands_to_an_erased_account_are_rejected_by_name(bank):
    eskit("stream", "erase", "Account-acc-001", "--reason", "asked", "--yes", cwd=bank)

    deposit = move(bank, DEPOSIT, "acc-001", "1.00")
    opened = open_account(bank, "acc-001")

    assert (deposit.code, opened.code) == (1, 1)
    assert "ACCOUNT_NOT_FOUND" in deposit.err
    assert "ACCOUNT_ERASED" in opened.err
