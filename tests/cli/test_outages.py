"""`project run` and `serve` while the read model is away: told once, gone on with, stoppable."""

from __future__ import annotations

import fcntl
import os
import sqlite3

import pytest

from tests.support.running import DEPOSIT, eskit, interrupt, move, read_until

RUN = ("project", "run")
SERVE = ("serve", "--no-services", "--no-relay")


@pytest.fixture(params=[RUN, SERVE], ids=["project run", "serve"])
def runner(request, bank, launch):
    """A process that follows, its projections at the head."""
    process = launch(*request.param, cwd=bank)
    while any(found["position"] < 4 for found in status(bank)):
        assert process.poll() is None
    return process


def status(bank) -> list[dict]:
    return eskit("project", "status", "--json", cwd=bank).json["data"]


def balance(bank) -> str:
    connection = sqlite3.connect(bank / "bank_read.db")
    try:
        wanted = "SELECT balance FROM account_balance WHERE account_id = 'acc-001'"
        return connection.execute(wanted).fetchone()[0]
    finally:
        connection.close()


def test_a_read_model_moved_away_is_told_once_and_gone_on_with(runner, bank):
    model, away = bank / "bank_read.db", bank / "away.db"
    model.rename(away)
    assert move(bank, DEPOSIT, "acc-001", "1.00").code == 0
    told = read_until(runner, "waiting", stream="stderr")
    shown = eskit("project", "status", cwd=bank)
    away.rename(model)
    back = read_until(runner, "resumed", stream="stderr")
    while any(found["lag"] for found in status(bank)):
        assert runner.poll() is None

    ended = interrupt(runner)

    assert "was deleted or replaced while it was open" in told[-1]
    assert shown.code == 1
    assert "waiting: Read model" in shown.out
    assert "waiting" not in "".join(back)
    assert ended.code == 0, ended.err
    assert balance(bank) == "1201.25"


def test_ctrl_c_ends_a_runner_that_waits(runner, bank):
    (bank / "bank_read.db").rename(bank / "away.db")
    assert move(bank, DEPOSIT, "acc-001", "1.00").code == 0
    read_until(runner, "waiting", stream="stderr")

    assert interrupt(runner).code == 0


def test_ctrl_c_ends_a_runner_behind_another_writer(runner, bank):
    file = os.open(bank / "bank_read.db-locks" / "write", os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert move(bank, DEPOSIT, "acc-001", "1.00").code == 0

        assert interrupt(runner).code == 0
    finally:
        os.close(file)


def test_serve_begins_when_the_read_model_can_be_used(bank, launch):
    (bank / "bank_read.db-locks").write_text("in the way of the folder of locks")
    process = launch(*SERVE, cwd=bank)
    told = read_until(process, "waiting", stream="stderr")
    (bank / "bank_read.db-locks").unlink()
    read_until(process, "resumed", stream="stderr")

    assert "cannot be written to" in told[-1]
    assert interrupt(process).code == 0
    assert balance(bank) == "1200.25"
