"""`call --at-least`: queries that wait for as much as somebody needs to see."""

from __future__ import annotations

import fcntl
import os

from tests.support.running import DEPOSIT, eskit, move

GET = ("call", "account.v1.AccountQueryService/GetAccount", "--data", '{"account_id": "acc-001"}')


def test_a_query_at_a_position_is_answered_while_others_are_still_to_come(bank):
    assert eskit("project", "run", "--once", cwd=bank).code == 0
    assert move(bank, DEPOSIT, "acc-001", "1.00").code == 0
    locks = [
        os.open(bank / "bank_read.db-locks" / f"{name}.run", os.O_RDWR)
        for name in ("account-balance", "activity-log")
    ]
    try:
        for lock in locks:
            fcntl.flock(lock, fcntl.LOCK_EX)
        answered = eskit(*GET, "--at-least", "4", "--json", cwd=bank)
        late = eskit(*GET, "--at-least", "5", "--timeout", "1", cwd=bank)
    finally:
        for lock in locks:
            os.close(lock)
    caught_up = eskit(*GET, "--at-least", "5", "--json", cwd=bank)

    assert answered.json["data"]["balance"] == "1200.25"
    assert late.code == 1
    assert "has not passed 5 within" in late.err
    assert caught_up.json["data"]["balance"] == "1201.25"


def test_a_position_behind_the_log_is_wrong_usage(bank):
    refused = eskit(*GET, "--at-least", "9", cwd=bank)

    assert refused.code == 2
    assert "Position 9 is past the end of the log, 4" in refused.err
