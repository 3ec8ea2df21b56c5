"""Scenario: a bank is moved from SQLite to PostgreSQL and back, as docs/moving.md says."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import new_store
from tests.support.running import (
    DEPOSIT,
    configure,
    eskit,
    interrupt,
    move,
    open_account,
    read_until,
)

BALANCE = "account.v1.AccountQueryService/GetAccountBalance"
VIP = "100000.00"
BONUS = "100.00"


def balance(bank: Path, account: str) -> str:
    ran = eskit("call", BALANCE, "--data", json.dumps({"account_id": account}), "--json", cwd=bank)
    assert ran.code == 0, ran.err
    return str(ran.json["data"]["balance"])


def wait_for_balance(bank: Path, account: str, wanted: str) -> None:
    """Wait until what reactions and projections make of an account is that, and no more."""
    deadline = time.monotonic() + 60
    while balance(bank, account) != wanted:
        assert time.monotonic() < deadline, balance(bank, account)
        time.sleep(0.2)


def published(launch: Any, bank: Path, last: int) -> list[int]:
    """The positions of the events in NATS, in their order."""
    tail = launch("tail", "--source", "nats", "--from", "first", "--json", cwd=bank)
    lines = read_until(tail, f'"global_position": {last},')
    interrupt(tail)
    return [json.loads(line)["global_position"] for line in lines]


@pytest.mark.promise("followers-move-along")
def test_a_bank_is_moved_there_and_back_while_it_serves_and_goes_on(launch, tmp_path, postgres):
    assert eskit("new", "project", "bank", "--template", "bank", cwd=tmp_path).code == 0
    bank = tmp_path / "bank"
    assert eskit("gen", cwd=bank).code == 0
    configure(bank, read_models="sqlite:///bank_read.db")
    stores = ["sqlite:///bank.db", new_store(postgres), "sqlite:///bank-2.db"]
    serving = launch("serve", cwd=bank)
    read_until(serving, "stop with Ctrl-C")
    assert open_account(bank, "acc-0", "Vip", VIP).code == 0
    wait_for_balance(bank, "acc-0", "100100.00")
    events = 2

    for number, (here, there) in enumerate(pairwise(stores), start=1):
        copied = eskit("store", "copy", here, there, "--json", cwd=bank)
        assert move(bank, DEPOSIT, "acc-0", "1.00").code == 0
        finished = eskit("store", "copy", here, there, "--finish", "--json", cwd=bank)
        refused = move(bank, DEPOSIT, "acc-0", "1.00")
        moved = eskit("store", "info", "--json", cwd=bank).json["data"]["copy"]
        interrupt(serving)
        configure(bank, store=there)
        serving = launch("serve", cwd=bank)
        read_until(serving, "stop with Ctrl-C")
        assert move(bank, DEPOSIT, "acc-0", "1.00").code == 0
        assert open_account(bank, f"acc-{number}", "Vip", VIP).code == 0
        wait_for_balance(bank, f"acc-{number}", "100100.00")
        wait_for_balance(bank, "acc-0", f"{100100 + 2 * number}.00")
        events += 4

        assert copied.json["data"]["events"] == events - 4
        assert finished.json["data"]["events"] == events - 3
        assert "was moved to" in refused.err + refused.out
        assert moved["role"] == "source"
        assert published(launch, bank, events) == list(range(1, events + 1))
        assert balance(bank, "acc-0") == f"{100100 + 2 * number}.00"
        relay = eskit("relay", "--status", "--json", cwd=bank).json["data"]
        assert (relay["position"], relay["other_store"]) == (events, False)
        statuses = eskit("project", "status", "--json", cwd=bank).json["data"]
        assert {one["name"]: one["position"] for one in statuses} == {
            "account-balance": events,
            "activity-log": events,
        }
    verified = eskit("store", "verify", cwd=bank)
    ended = interrupt(serving)

    assert ended.code == 0
    assert verified.code == 0
    assert "warning" not in verified.out
    assert eskit("store", "info", "--json", cwd=bank).json["data"]["copy"] is None
