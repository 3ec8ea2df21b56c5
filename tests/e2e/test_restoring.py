"""Scenario: a bank goes on from a backup, as docs/operations-store.md says, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import DEPOSIT, eskit, interrupt, move, open_account, read_until

BALANCE = "account.v1.AccountQueryService/GetAccountBalance"
HISTORY = "account.v1.AccountQueryService/GetAccountHistory"
VIP = "100000.00"
WELCOMED = "100100.00"


def call(project: Path, method: str, **fields: str) -> Any:
    ran = eskit("call", method, "--data", json.dumps(fields), "--json", cwd=project)
    assert ran.code == 0, ran.err
    return ran.json["data"]


@pytest.fixture
def restored(launch, tmp_path) -> Path:
    """A stopped bank whose store is a backup that lacks its last event."""
    assert eskit("new", "project", "bank", "--template", "bank", cwd=tmp_path).code == 0
    bank = tmp_path / "bank"
    assert eskit("gen", cwd=bank).code == 0
    process = launch("serve", cwd=bank)
    read_until(process, "stop with Ctrl-C")
    assert open_account(bank, "acc-001").code == 0
    assert eskit("store", "backup", "monday.db", cwd=bank).code == 0
    assert move(bank, DEPOSIT, "acc-001", "5.00").code == 0
    for query in (BALANCE, HISTORY):
        call(bank, query, account_id="acc-001")
    tail = launch("tail", "--source", "nats", "--from", "first", cwd=bank)
    read_until(tail, "MoneyDeposited")
    interrupt(tail)
    interrupt(process)

    left = sorted(path.name for path in bank.glob("bank.db*"))
    assert left == ["bank.db", "bank.db.relay"]
    (bank / "bank.db").rename(bank / "bank.db.aside")
    (bank / "monday.db").rename(bank / "bank.db")
    return bank


def test_a_restored_bank_says_what_to_do_before_it_serves(launch, restored):
    serving = launch("serve", cwd=restored)
    told = read_until(serving, "eskit relay --republish", stream="stderr")
    if "eskit project rebuild account-balance" not in "".join(told):
        told += read_until(serving, "eskit project rebuild account-balance", stream="stderr")
    served = interrupt(serving)
    status = eskit("relay", "--status", cwd=restored)
    as_json = eskit("relay", "--status", "--json", cwd=restored).json["data"]
    listed = eskit("checkpoint", "list", cwd=restored)
    verified = eskit("store", "verify", cwd=restored)

    assert served.code == 1
    assert "of another store's log" in status.out
    assert "eskit relay --republish" in status.out
    assert as_json["other_store"] is True
    marked = [line.split()[0] for line in listed.out.splitlines() if "of another store" in line]
    assert marked == ["account-balance", "activity-log", "relay"]
    assert verified.code == 0
    for command in (
        "eskit relay --republish",
        "eskit project rebuild account-balance",
        "eskit project rebuild activity-log",
    ):
        assert command in verified.out


@pytest.mark.promise("backups-are-republished")
def test_a_bank_serves_again_from_a_backup_and_its_reactions_miss_nothing(launch, restored):
    rebuilt = eskit("project", "rebuild", "account-balance", "activity-log", cwd=restored)
    republished = eskit("relay", "--republish", "--yes", "--json", cwd=restored)
    process = launch("serve", cwd=restored)
    read_until(process, "stop with Ctrl-C")
    assert open_account(restored, "acc-vip", "Vip", VIP).code == 0
    tail = launch("tail", "--source", "nats", "--from", "first", "--json", cwd=restored)
    published = read_until(tail, '"new_balance": "100100.00"')
    interrupt(tail)
    balance = call(restored, BALANCE, account_id="acc-vip")
    ended = interrupt(process)
    status = eskit("relay", "--status", "--json", cwd=restored).json["data"]
    verified = eskit("store", "verify", cwd=restored)

    assert rebuilt.code == 0, rebuilt.err
    assert republished.json["data"]["published"] == 1
    assert republished.json["data"]["replaced"].startswith("/bank/")
    assert [json.loads(line)["global_position"] for line in published] == [1, 2, 3]
    assert balance["balance"] == WELCOMED
    assert (ended.code, ended.err) == (0, "")
    assert (status["position"], status["other_store"]) == (3, False)
    assert "warning" not in verified.out


def test_a_bank_that_was_restored_by_command_goes_on_where_it_can(launch, restored):
    (restored / "monday.db").write_bytes((restored / "bank.db").read_bytes())
    (restored / "bank.db.aside").replace(restored / "bank.db")

    done = eskit("store", "restore", "monday.db", "--yes", "--json", cwd=restored)
    repaired = eskit("checkpoint", "repair", "--json", cwd=restored)
    shown = eskit("checkpoint", "repair", cwd=restored)
    rebuilt = eskit("project", "rebuild", "account-balance", "activity-log", cwd=restored)
    again = eskit("checkpoint", "repair", cwd=restored)

    assert done.json["data"]["replaced"]["events"] == 2
    assert (repaired.code, repaired.json["status"]) == (3, "failed")
    assert repaired.json["data"]["changed"] is False
    assert {c["name"]: c["repaired"] for c in repaired.json["data"]["checkpoints"]} == {
        "account-balance": False,
        "activity-log": False,
    }
    assert "eskit project rebuild account-balance activity-log" in shown.out
    assert rebuilt.code == 0
    assert (again.code, again.out) == (0, "Every projection follows this store\n")
