"""Scenario E5: a balance and an activity log fed from NATS, where the store is not at hand."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time

import pytest

from tests.support.running import (
    DEPOSIT,
    WITHDRAW,
    configure,
    eskit,
    interrupt,
    launcher,
    move,
    open_account,
    read_until,
)

launch = pytest.fixture(launcher)
CAROL = "acc-carol-001"


@pytest.fixture
def bank(tmp_path, use_store):
    assert eskit("new", "project", "bank", "--template", "bank", cwd=tmp_path).code == 0
    bank = tmp_path / "bank"
    use_store(bank)
    configure(bank, read_models="sqlite:///bank_read.db")
    generated = eskit("gen", cwd=bank)
    assert generated.code == 0, generated.err
    return bank


@pytest.fixture
def office(bank, launch, tmp_path):
    """The bank's services and relay at work; a branch has only their address."""
    server = launch("serve", "--no-projections", cwd=bank, start_new_session=True)
    read_until(server, "up; stop with Ctrl-C")
    return json.loads((bank / ".eskit" / "nats.json").read_text())["url"]


@pytest.fixture
def branch(bank, office, tmp_path):
    """A copy of the project that has never seen the store, and how to run eskit in it."""
    branch = tmp_path / "branch"
    shutil.copytree(bank, branch, ignore=shutil.ignore_patterns("*.db*", ".eskit"))
    configure(branch, store="sqlite:///bank.db")  # which is not there

    def run(*words):
        return eskit(*words, cwd=branch, env={"ESKIT_NATS": office})

    run.folder, run.env = branch, {"ESKIT_NATS": office}
    return run


def rows(folder, sql: str) -> list[tuple]:
    connection = sqlite3.connect(folder / "bank_read.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def move_money(bank) -> None:
    assert open_account(bank, CAROL, "Carol", "10000.00").code == 0
    assert move(bank, DEPOSIT, CAROL, "5000.00").code == 0
    assert move(bank, WITHDRAW, CAROL, "2000.00").code == 0


def relayed(branch, position: int) -> None:
    """Wait until the stream has an event."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        listed = branch("checkpoint", "list")
        if listed.out.startswith(f"head of the log  {position}\n"):
            return
    raise AssertionError(listed)


def test_projections_are_run_shown_and_rebuilt_without_the_store(bank, branch):
    move_money(bank)
    relayed(branch, 3)

    ran = branch("project", "run", "--once", "--json")
    status = branch("project", "status", "--json").json["data"]
    listed = branch("checkpoint", "list", "--json").json["data"]
    rebuilt = branch("project", "rebuild", "account-balance", "--json")
    compared = branch("project", "diff", "activity-log")

    assert {(r["name"], r["events"], r["position"]) for r in ran.json["data"]} == {
        ("account-balance", 3, 3),
        ("activity-log", 3, 3),
    }
    assert rows(branch.folder, "SELECT balance FROM account_balance") == [("13000.00",)]
    assert rows(branch.folder, "SELECT activity, amount FROM account_activity_log ORDER BY 1") == [
        ("DEPOSIT", "5000.00"),
        ("OPENED", "10000.00"),
        ("WITHDRAWAL", "2000.00"),
    ]
    assert [(s["name"], s["state"], s["head"], s["lag"]) for s in status] == [
        ("account-balance", "idle", 3, 0),
        ("activity-log", "idle", 3, 0),
    ]
    assert [(c["name"], c["position"]) for c in listed] == [
        ("account-balance", 3),
        ("activity-log", 3),
    ]
    assert (rebuilt.code, rebuilt.json["data"][0]["events"]) == (0, 3)
    assert compared.out.startswith("activity-log  equal  at 3")
    assert branch("deadletter", "list", "account-balance").out == "No dead letters\n"
    assert list(branch.folder.glob("bank.db*")) == []


def test_a_runner_without_the_store_follows_and_stops_with_ctrl_c(bank, branch, launch):
    move_money(bank)
    relayed(branch, 3)
    follower = launch("project", "run", cwd=branch.folder, env=branch.env)
    read_until(follower, "Projections run until Ctrl-C", stream="stderr")
    assert move(bank, DEPOSIT, CAROL, "1.00").code == 0
    deadline = time.monotonic() + 30
    while branch("project", "status", "account-balance", "--json").json["data"][0]["lag"]:
        assert time.monotonic() < deadline

    ended = interrupt(follower)

    assert ended.code == 0, ended.err
    assert rows(branch.folder, "SELECT balance FROM account_balance") == [("13001.00",)]
