"""Snapshots and replays of a bank's accounts from the command line."""

import sqlite3
from contextlib import closing

import pytest

from tests.support.running import eskit

STREAM = "Account-acc-001"


def test_a_snapshot_is_created_listed_verified_and_pruned(bank):
    created = eskit("snapshot", "create", STREAM, "--json", cwd=bank)
    listed = eskit("snapshot", "list", "--json", cwd=bank)
    verified = eskit("snapshot", "verify", cwd=bank)
    dry = eskit("snapshot", "prune", "--keep", "0", "--dry-run", cwd=bank)
    pruned = eskit("snapshot", "prune", "--keep", "0", "--json", cwd=bank)

    assert created.code == 0, created.err
    assert created.json["data"]["version"] == 3
    (row,) = listed.json["data"]
    assert (row["stream"], row["version"], row["fold_version"]) == (STREAM, 3, 1)
    assert (verified.code, "1 snapshot, all match" in verified.out) == (0, True)
    assert dry.out == "1 snapshot would be deleted\n"
    assert pruned.json["data"] == {"deleted": 1, "dry_run": False}
    assert eskit("snapshot", "list", cwd=bank).out == "No snapshots\n"


def test_a_fold_version_that_nobody_raised_is_found(bank):
    eskit("snapshot", "create", STREAM, cwd=bank)
    account = bank / "bank" / "domain" / "account.py"
    text = account.read_text(encoding="utf-8")
    changed = text.replace("self.state.owner_name = ", "self.state.owner_name = 'Dr ' + ", 1)
    assert changed != text
    account.write_text(changed, encoding="utf-8")

    verified = eskit("snapshot", "verify", "--json", cwd=bank)

    assert verified.code == 3
    assert verified.json["status"] == "failed"
    assert [row["verdict"] for row in verified.json["data"]] == ["different"]


def test_a_damaged_snapshot_is_found(bank):
    eskit("snapshot", "create", STREAM, cwd=bank)
    with closing(sqlite3.connect(bank / "bank.db")) as connection, connection:
        connection.execute("UPDATE snapshots SET state = x'00'")
    connection.close()

    verified = eskit("snapshot", "verify", cwd=bank)

    assert verified.code == 3
    assert "damaged" in verified.out


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE snapshots SET event_id = x'00'",
        "UPDATE snapshots SET created_at = 1 << 62",
        "UPDATE snapshots SET state = 'abc'",
    ],
)
def test_a_row_that_cannot_be_a_snapshot_is_listed_and_found(bank, statement):
    eskit("snapshot", "create", STREAM, cwd=bank)
    with closing(sqlite3.connect(bank / "bank.db")) as connection, connection:
        connection.execute(statement)
    connection.close()

    listed = eskit("snapshot", "list", cwd=bank)
    verified = eskit("snapshot", "verify", cwd=bank)
    store = eskit("store", "verify", cwd=bank)

    assert (listed.code, verified.code, store.code) == (0, 3, 3)
    assert "damaged" in listed.out
    assert "damaged" in verified.out
    assert f"A snapshot of {STREAM} at version 3 cannot be read" in store.out


def test_a_snapshot_of_nothing_names_the_nearest_stream(bank):
    missing = eskit("snapshot", "create", "Account-acc-0001", cwd=bank)

    assert missing.code == 1
    assert "Account-acc-001" in missing.err


def test_a_replay_goes_backward_from_a_version(bank):
    replayed = eskit("replay", STREAM, "--to-version", "2", "--backward", "--json", cwd=bank)
    shown = eskit("replay", STREAM, "--backward", cwd=bank)
    events = eskit("replay", STREAM, "--backward", "--no-state", "--json", cwd=bank)

    assert [step["version"] for step in replayed.records] == [2, 1]
    assert replayed.records[0]["state"]["balance"] == "1250.50"
    assert "State at version 3" in shown.out
    assert [step["version"] for step in events.records] == [3, 2, 1]
