"""A project that may be read and not written, also for root, whose right to write is taken away."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.running import OPEN, eskit, interrupt, open_account, read_until

BALANCE = ("call", "account.v1.AccountQueryService/GetAccountBalance")
_DROP_FROM_BOUNDING_SET = 24
_OVERRIDE_WRITING, _OVERRIDE_READING = 1, 2


def like_anybody() -> None:
    """In a new process of root: obey the permissions of files from the next program on."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None).prctl
        for capability in (_OVERRIDE_WRITING, _OVERRIDE_READING):
            if prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) != 0:
                raise OSError("Root cannot give up its right to write anywhere here")


@pytest.fixture
def read_only(bank) -> Iterator[Callable[[], None]]:
    """Take the right to write away from a bank whose projections have run."""
    assert eskit("project", "run", "--once", cwd=bank).code == 0

    def withdraw(*suffixes: str) -> None:
        for path in [bank, *bank.rglob("*")]:
            if not suffixes or path.name.endswith(suffixes):
                path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))

    yield withdraw
    for path in [bank, *bank.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def run(bank: Path, *args: str):
    return eskit(*args, cwd=bank, preexec_fn=like_anybody)


def test_status_checkpoints_and_queries_only_read(bank, read_only):
    read_only()

    status = run(bank, "project", "status", "--json")
    checkpoints = run(bank, "checkpoint", "list")
    query = run(bank, *BALANCE, "--data", '{"account_id":"acc-001"}', "--json")

    assert (status.code, status.err) == (0, "")
    assert [projection["position"] for projection in status.json["data"]] == [4, 4]
    assert checkpoints.code == 0
    assert query.json["data"]["balance"] == "1200.25"
    assert not list(bank.glob("*-wal"))


@pytest.mark.parametrize("command", ["run", "rebuild"])
def test_what_writes_names_the_folder_and_what_to_do(bank, read_only, command):
    read_only()

    options = ["--once"] if command == "run" else ["account-balance"]
    ran = run(bank, "project", command, *options, "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "READ_MODEL_UNAVAILABLE"
    assert "cannot be written to" in ran.json["error"]["message"]
    assert str(bank) in ran.json["error"]["hint"]
    assert "permissions" in ran.json["error"]["hint"]


def test_a_query_that_has_to_handle_events_first_says_why_it_cannot(bank, read_only):
    assert open_account(bank, "acc-003").code == 0
    read_only("_read.db")

    query = run(bank, *BALANCE, "--data", '{"account_id":"acc-001"}')

    assert query.code == 1
    assert "bank_read.db may not be written to" in query.err
    assert "Check the permissions of the file and its folder" in query.err


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_store_that_may_not_be_read_is_about_permissions(bank, what):
    store = bank / "bank.db" if what == "file" else bank / "data" / "bank.db"
    store.parent.mkdir(exist_ok=True)
    (bank / "bank.db").rename(store)
    (store if what == "file" else store.parent).chmod(0)

    ran = run(bank, "stream", "list", "--store", f"sqlite:///{store}", "--json")
    (store if what == "file" else store.parent).chmod(0o700)

    assert ran.code == 1
    assert ran.json["error"]["code"] == "STORE_UNAVAILABLE"
    assert "may not be read" in ran.json["error"]["message"]
    assert ran.json["error"]["hint"] == "Check the permissions of the file and its folders."


def test_what_one_process_wrote_later_is_read_by_one_that_may_only_read(bank, read_only):
    read_only()
    before = run(bank, "project", "status", "--json")
    for path in (bank, *bank.glob("bank*db*"), *bank.glob("*-locks/*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert open_account(bank, "acc-003").code == 0
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    read_only()

    after = run(bank, "project", "status", "--json")

    assert [before.json["data"][0]["position"], after.json["data"][0]["position"]] == [4, 5]


def test_serve_tells_at_once_that_projections_cannot_write(bank, read_only, launch):
    data = json.dumps({"account_id": "acc-009", "owner_name": "Z", "initial_balance": "1"})
    assert eskit("call", OPEN, "--data", data, cwd=bank).code == 0
    read_only("_read.db")

    process = launch("serve", cwd=bank, preexec_fn=like_anybody)
    told = read_until(process, "may not be written to", stream="stderr")
    interrupt(process)

    assert "bank_read.db" in told[-1]
    with closing(sqlite3.connect(f"file:{bank}/bank_read.db?mode=ro", uri=True)) as rows, rows:
        assert rows.execute(
            "SELECT min(value ->> 'position') FROM eskit_records WHERE kind = 'state'"
        ).fetchone() == (4,)
