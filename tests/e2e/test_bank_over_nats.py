"""The bank through its command and query services, over NATS."""

from __future__ import annotations

import json

import pytest

from tests.support.running import eskit, interrupt, read_until

COMMANDS = "account.v1.AccountCommandService"
QUERIES = "account.v1.AccountQueryService"
ACCOUNT = "acc-sqlite-demo-789"


@pytest.fixture
def served(launch, use_store, tmp_path):
    """A fresh bank whose services run in a process of their own."""
    assert eskit("new", "project", "bank", "--template", "bank", cwd=tmp_path).code == 0
    project = tmp_path / "bank"
    use_store(project)
    assert eskit("gen", cwd=project).code == 0
    process = launch("serve", cwd=project)
    read_until(process, "stop with Ctrl-C")
    yield project
    ended = interrupt(process)
    assert (ended.code, ended.err) == (0, "")


def call(project, method, **fields):
    ran = eskit(
        "call", method, "--via", "nats", "--data", json.dumps(fields), "--json", cwd=project
    )
    return ran.json


def move(project, verb, amount):
    answer = call(project, f"{COMMANDS}/{verb}", account_id=ACCOUNT, amount=amount)
    return answer["data"]["new_balance"]


def test_the_bank_over_nats(launch, served):
    opened = call(
        served,
        f"{COMMANDS}/OpenAccount",
        account_id=ACCOUNT,
        owner_name="Charlie Brown",
        initial_balance="3000.00",
    )
    assert opened["data"]["account_id"] == ACCOUNT

    balances = [
        move(served, verb, amount)
        for verb, amount in (
            *(("Deposit", "100.00"), ("Deposit", "200.00"), ("Deposit", "300.00")),
            *(("Withdraw", "150.00"), ("Withdraw", "250.00")),
        )
    ]
    assert balances == ["3100.00", "3300.00", "3600.00", "3450.00", "3200.00"]

    # a query answers from a read model that has seen the commands before it
    balance = call(served, f"{QUERIES}/GetAccountBalance", account_id=ACCOUNT)["data"]
    assert balance == {"account_id": ACCOUNT, "balance": "3200.00", "currency": "USD"}
    account = call(served, f"{QUERIES}/GetAccount", account_id=ACCOUNT)["data"]
    assert (account["owner_name"], account["status"]) == ("Charlie Brown", "ACCOUNT_STATUS_OPEN")
    accounts = call(served, f"{QUERIES}/ListAccounts")["data"]["accounts"]
    assert [a["account_id"] for a in accounts] == [ACCOUNT]
    history = call(served, f"{QUERIES}/GetAccountHistory", account_id=ACCOUNT)["data"]["entries"]
    assert [entry["activity"] for entry in history] == [
        *("OPENED", "DEPOSIT", "DEPOSIT", "DEPOSIT", "WITHDRAWAL", "WITHDRAWAL")
    ]

    # a second opening of the same account is rejected, the account goes on from where it was
    again = call(
        served,
        f"{COMMANDS}/OpenAccount",
        account_id=ACCOUNT,
        owner_name="Charlie Brown",
        initial_balance="3000.00",
    )
    assert again["status"] == "failed"
    more = call(served, f"{COMMANDS}/Deposit", account_id=ACCOUNT, amount="100.00")
    assert more["data"]["new_balance"] == "3300.00"

    # rejections arrive typed
    poor = call(served, f"{COMMANDS}/Withdraw", account_id=ACCOUNT, amount="99999.00")
    assert poor["error"]["code"] == "INSUFFICIENT_FUNDS"
    unknown = call(served, f"{QUERIES}/GetAccountBalance", account_id="nobody")
    assert unknown["error"]["code"] == "ACCOUNT_NOT_FOUND"

    # what was published is what is stored
    tail = launch("tail", "--from", "first", "--source", "nats", "--json", cwd=served)
    published = [json.loads(read_until(tail, "{")[-1]) for _ in range(7)]
    ended = interrupt(tail)
    stored = eskit("stream", "read", f"Account-{ACCOUNT}", "--json", cwd=served).records
    assert ended.code == 0
    assert published == stored
    closed = call(served, f"{COMMANDS}/CloseAccount", account_id=ACCOUNT)
    assert closed["data"]["final_balance"] == "3300.00"
