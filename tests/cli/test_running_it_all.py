"""`eskit serve` and `eskit dev` as whoever runs them sees them."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest

from eskit.nats.server import EmbeddedNats
from tests.support.running import DEPOSIT, break_deposits, eskit, interrupt, read_until


def deposit(bank, amount):
    data = json.dumps({"account_id": "acc-001", "amount": amount})
    return eskit("call", DEPOSIT, "--via", "nats", "--data", data, cwd=bank)


def ask_health(lines):
    url = re.search(r"http://\S+/health", "".join(lines))
    assert url is not None, lines
    with urllib.request.urlopen(url[0], timeout=10) as answer:  # noqa: S310 - what eskit printed
        told = json.load(answer)
    assert told["healthy"], told
    return {service["service"] for service in told["services"]}


def test_serve_answers_probes(launch, bank):
    process = launch("serve", "--health", "0", cwd=bank)
    lines = read_until(process, "stop with Ctrl-C")

    services = ask_health(lines)
    ended = interrupt(process)

    assert {"nats", "connection", "projections", "services", "relay", "reaction welcome"} <= (
        services
    )
    assert ended.code == 0, ended.err


def test_serve_uses_a_server_that_runs_already_and_starts_none(launch, bank):
    with EmbeddedNats() as server:
        process = launch("serve", "--health", "0", "--nats", server.url, cwd=bank)
        services = ask_health(read_until(process, "stop with Ctrl-C"))
        data = json.dumps({"account_id": "acc-001", "amount": "1"})
        called = eskit("call", DEPOSIT, "--nats", server.url, "--data", data, cwd=bank)
        tailed = eskit(
            *("tail", "--from", "first", "--no-follow", "--source", "nats"),
            *("--nats", server.url, "--json"),
            cwd=bank,
        )
        ended = interrupt(process)

    assert "nats" not in services
    assert {"connection", "services", "relay"} <= services
    assert called.code == 0, called.err
    assert len(tailed.out.splitlines()) >= 4
    assert ended.code == 0, ended.err


def test_a_relay_answers_probes_and_ends_cleanly_at_sigterm(launch, bank):
    nats = launch("nats", "start", cwd=bank)
    read_until(nats, "until Ctrl-C")
    process = launch("relay", "--health", "localhost:0", "--json", cwd=bank)
    lines = read_until(process, "position 4", stream="stderr")

    services = ask_health(lines)
    process.terminate()
    out, err = process.communicate(timeout=20)

    assert services == {"connection", "relay"}
    assert process.returncode == 0, err
    assert json.loads(out)["data"] == {
        "published": 4,
        "position": 4,
        "skipped": 0,
        "replaced": None,
    }
    assert interrupt(nats).code == 0


def test_project_run_answers_probes(launch, bank):
    process = launch("project", "run", "--health", "0", cwd=bank)
    lines = read_until(process, "/health", stream="stderr")

    services = ask_health(lines)

    assert services == {"projections"}
    assert interrupt(process).code == 0


@pytest.mark.parametrize("command", [["serve"], ["project", "run"]])
def test_a_projection_that_stopped_is_not_healthy(launch, bank, command):
    break_deposits(bank)
    process = launch(*command, "--health", "0", cwd=bank)
    address = re.compile(r"http://\S+/health")
    stream = "stdout" if command == ["serve"] else "stderr"
    url = address.search("".join(read_until(process, "/health", stream=stream)))
    assert url is not None
    read_until(process, "eskit project status account-balance", stream="stderr")

    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(url[0], timeout=10)  # noqa: S310 - what eskit printed
    told = json.load(answer.value)
    interrupt(process)

    assert answer.value.code == 503
    (projections,) = (one for one in told["services"] if one["service"] == "projections")
    assert not projections["healthy"]
    assert "account-balance" in projections["error"]


@pytest.mark.parametrize("address", ["here", "70000", "127.0.0.1:", "1.2.3.4:-1"])
def test_an_address_that_is_none_is_wrong_usage(bank, address):
    for command in (["serve"], ["relay"], ["project", "run"]):
        ran = eskit(*command, "--health", address, cwd=bank)

        assert ran.code == 2
        assert "neither PORT nor HOST:PORT" in ran.err.replace("\n", " ")


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
