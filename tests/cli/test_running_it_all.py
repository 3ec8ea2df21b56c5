"""`eskit serve` and `eskit dev` as whoever runs them sees them."""

from __future__ import annotations

import json
import re
import urllib.request

from tests.cli.running import DEPOSIT, eskit, interrupt, read_until


def deposit(bank, amount):
    data = json.dumps({"account_id": "acc-001", "amount": amount})
    return eskit("call", DEPOSIT, "--via", "nats", "--data", data, cwd=bank)


def test_serve_answers_probes(launch, bank):
    process = launch("serve", "--health", "0", cwd=bank)
    lines = "".join(read_until(process, "stop with Ctrl-C"))
    url = re.search(r"http://\S+/health", lines)

    assert url is not None
    with urllib.request.urlopen(url[0], timeout=10) as answer:  # noqa: S310 - what serve printed
        told = json.load(answer)
    ended = interrupt(process)

    assert told["healthy"]
    assert {"nats", "connection", "projections", "services", "relay", "reaction welcome"} <= {
        service["service"] for service in told["services"]
    }
    assert ended.code == 0, ended.err


def test_dev_shows_calls_and_events_each_with_its_label(launch, bank):
    process = launch("dev", cwd=bank)
    read_until(process, "stop with Ctrl-C")

    accepted = deposit(bank, "12.34")
    rejected = deposit(bank, "-1")
    lines = "".join(read_until(process, "INVALID_AMOUNT"))
    ended = interrupt(process)

    assert accepted.code == 0, accepted.err
    assert rejected.code == 1
    shown = lines + ended.out
    assert re.search(
        r"^call +account.v1.AccountCommandService/Deposit  ok  \d", shown, re.MULTILINE
    )
    assert re.search(
        r'^event +\S+ +5  Account-acc-001 +MoneyDeposited .*"12.34"', shown, re.MULTILINE
    )
    assert (ended.code, ended.err) == (0, "")
