"""From a failed projection to a repaired one by the commands that its messages name."""

from __future__ import annotations

import pytest

from eskit.projections.policy import FailurePolicy
from tests.support.running import break_deposits, eskit

WHY = ("--reason", "ticket 7")


@pytest.fixture
def stopped(bank):
    """A bank whose balances stand before the deposit at 2."""
    break_deposits(bank)
    assert eskit("project", "run", "--once", cwd=bank).code == 1
    return bank


@pytest.fixture
def mend(bank):
    """Make the handler right again."""
    module = bank / "bank" / "projections" / "account_balance.py"
    wrong, right = 'raise KeyError("\\x1b[31meur")', '"""Set the balance."""'
    return lambda: module.write_text(module.read_text().replace(wrong, right))


def set_aside(bank) -> None:
    """Let the projection set streams aside instead of stopping."""
    module = bank / "bank" / "projections" / "account_balance.py"
    imported = f"from {FailurePolicy.__module__} import FailurePolicy"
    policy = 'on_failure=FailurePolicy(then="set_aside_stream", retries=0)'
    module.write_text(
        module.read_text()
        .replace("from eskit import", f"{imported}\nfrom eskit import", 1)
        .replace('Projection("account-balance"', f'Projection("account-balance", {policy}', 1)
    )


def state(bank) -> str:
    return eskit("project", "status", "account-balance", "--json", cwd=bank).json["data"][0][
        "state"
    ]


def test_nothing_waits_in_a_healthy_bank(bank):
    assert eskit("deadletter", "list", cwd=bank).out == "No dead letters\n"
    assert eskit("deadletter", "list", "activity-log", cwd=bank).out == "No dead letters\n"
    assert eskit("deadletter", "list", "--json", cwd=bank).json["data"] == []


def test_the_event_that_stopped_a_projection_is_listed_shown_and_skipped(stopped):
    listed = eskit("deadletter", "list", "--json", cwd=stopped).json["data"]
    shown = eskit("deadletter", "show", "account-balance", "2", cwd=stopped)
    unconfirmed = eskit("deadletter", "skip", "account-balance", "2", *WHY, cwd=stopped)
    before = state(stopped)
    skipped = eskit("deadletter", "skip", "account-balance", "2", *WHY, "--yes", cwd=stopped)
    after = eskit("deadletter", "list", "--json", cwd=stopped).json["data"]

    assert [(item["state"], item["position"]) for item in listed] == [("stopped", 2)]
    assert "Traceback" in shown.out
    assert "\x1b" not in shown.out
    assert "eskit project run --once account-balance" in shown.out
    assert unconfirmed.code == 2
    assert "Never handle 2 account.v1.MoneyDepositedEvent of Account-acc-001" in unconfirmed.err
    assert before == "failed"
    assert skipped.code == 0
    assert [(item["state"], item["reason"]) for item in after] == [("skipped", "ticket 7")]


def test_a_stream_set_aside_is_retried_in_order_after_the_repair(bank, mend):
    set_aside(bank)
    break_deposits(bank)
    ran = eskit("project", "run", "--once", cwd=bank)
    failed = state(bank)
    listed = eskit("deadletter", "list", "account-balance", "--json", cwd=bank).json["data"]
    too_early = eskit("deadletter", "retry", "account-balance", "3", *WHY, "--yes", cwd=bank)
    mend()
    retried = eskit("deadletter", "retry", "account-balance", "2", *WHY, "--yes", cwd=bank)

    assert ran.code == 0
    assert "1 dead letter" in ran.out
    assert failed == "failed"
    assert [(item["state"], item["position"]) for item in listed] == [
        ("failed", 2),
        ("waiting", 3),
    ]
    assert too_early.code == 2
    assert "is blocked by 2" in too_early.err
    assert retried.out == "account-balance  2 events handled, 0 dead letters left\n"
    assert state(bank) == "idle"
    assert eskit("project", "diff", "account-balance", cwd=bank).code == 0


def test_what_does_not_wait_is_named(bank):
    for words in (("show",), ("skip", *WHY, "--yes"), ("retry", *WHY, "--yes")):
        ran = eskit("deadletter", words[0], "account-balance", "3", *words[1:], cwd=bank)

        assert ran.code == 1
        assert "waits for a decision" in ran.err
