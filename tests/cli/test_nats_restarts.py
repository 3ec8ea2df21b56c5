"""The embedded server ends while it is needed: it is started again, where it was."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from eskit.nats.server import EmbeddedNats
from tests.support.running import DEPOSIT, eskit, free_port, interrupt, kill, read_until

NATS_IS_READY = "nats              ready"
CONNECTION = "connection        "
SERVICES_ARE_BACK = f"{CONNECTION}NATS is back"
"""What the connection says over which services answer: it comes after the server itself."""


def announcement(bank):
    return json.loads((bank / ".eskit" / "nats.json").read_text())


def port_of(bank):
    return int(announcement(bank)["url"].rpartition(":")[2])


def deposit(bank, *options):
    data = json.dumps({"account_id": "acc-001", "amount": "1"})
    return eskit("call", DEPOSIT, "--via", "nats", "--data", data, *options, cwd=bank)


def health(lines):
    url = re.search(r"http://\S+/health", "".join(lines))
    assert url is not None
    try:
        with urllib.request.urlopen(url[0], timeout=10) as answer:  # noqa: S310 - what eskit printed
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def take(listener, port):
    """Listen on a port as soon as its owner is gone, before its supervisor has looked."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            break
    listener.listen()


@pytest.mark.promise("embedded-nats-restarts")
def test_serve_starts_its_server_again_on_the_same_port(launch, bank):
    process = launch("serve", "--health", "0", cwd=bank)
    lines = read_until(process, "stop with Ctrl-C")
    port = port_of(bank)

    os.kill(announcement(bank)["pid"], signal.SIGKILL)
    told = read_until(process, "nats              failed")
    unwell = health(lines)
    back = read_lines(process, NATS_IS_READY, SERVICES_ARE_BACK)
    called = deposit(bank)
    ended = interrupt(process)

    assert "The embedded NATS server has ended: signal 9" in told[-1]
    assert not unwell["healthy"]
    assert next(line for line in back if NATS_IS_READY in line).rstrip().endswith(f":{port}")
    assert called.code == 0, called.err
    assert ended.code == 0, ended.err


def test_an_outage_is_told_of_once_and_so_is_its_end(launch, bank):
    nats = launch("nats", "start", cwd=bank)
    read_until(nats, "until Ctrl-C")
    serve = launch("--nats", announcement(bank)["url"], "serve", "--no-reactions", cwd=bank)
    read_until(serve, "stop with Ctrl-C")
    port = port_of(bank)
    url = announcement(bank)["url"]

    interrupt(nats)
    away = read_lines(serve, "waiting for NATS", f"{CONNECTION}NATS is away")
    with EmbeddedNats(bank / ".eskit" / "nats", port=port, token=token_of(url)):
        back = read_lines(serve, "resumed", SERVICES_ARE_BACK)
        ended = interrupt(serve)

    assert sorted(line.split()[0] for line in away) == ["connection", "relay"]
    assert sorted(line.split()[0] for line in back) == ["connection", "relay"]
    assert (ended.code, ended.err) == (0, "")


def read_lines(process, *texts):
    """The lines up to the last of those with one of the texts, in whatever order they come."""
    lines = []
    while not all(text in "".join(lines) for text in texts):
        lines += read_until(process, "")
    return lines


def token_of(url):
    return urlsplit(url).username


@pytest.mark.promise("embedded-nats-is-private")
def test_a_port_taken_meanwhile_makes_serve_unhealthy_until_it_is_free(launch, bank):
    process = launch("serve", "--health", "0", cwd=bank)
    lines = read_until(process, "stop with Ctrl-C")
    port, server = port_of(bank), announcement(bank)["pid"]

    os.kill(server, signal.SIGKILL)
    with socket.socket() as taken:
        take(taken, port)
        read_until(process, "address already in use")
        unwell = health(lines)
        second = eskit("nats", "start", cwd=bank)
    read_lines(process, NATS_IS_READY, SERVICES_ARE_BACK)
    called = deposit(bank)
    ended = interrupt(process)

    healthy = {one["service"]: one["healthy"] for one in unwell["services"]}
    assert not healthy["nats"]
    assert not healthy["connection"]
    assert second.code == 1
    assert f"Process {process.pid} starts the NATS server of this project again" in second.err
    assert called.code == 0, called.err
    assert ended.code == 0, ended.err


@pytest.mark.promise("embedded-nats-restarts")
def test_a_second_serve_takes_the_server_over_when_the_first_ends(launch, bank):
    first = launch("serve", "--no-projections", "--no-reactions", cwd=bank)
    read_until(first, "stop with Ctrl-C")
    port = port_of(bank)
    second = launch("serve", "--no-projections", "--no-reactions", cwd=bank)
    read_until(second, "stop with Ctrl-C")

    ended = interrupt(first)
    read_lines(second, NATS_IS_READY, SERVICES_ARE_BACK)
    called = deposit(bank)

    assert ended.code == 0, ended.err
    assert called.code == 0, called.err
    assert port_of(bank) == port
    assert interrupt(second).code == 0


def test_the_next_server_of_a_project_listens_where_the_last_one_did(launch, bank):
    first = launch("nats", "start", cwd=bank)
    read_until(first, "until Ctrl-C")
    tail = launch("tail", "--from", "first", "--source", "nats", "--json", cwd=bank)
    assert eskit("relay", "--once", cwd=bank).code == 0
    read_until(tail, '"global_position": 4')
    port = port_of(bank)

    interrupt(first)
    second = launch("serve", cwd=bank)
    read_until(second, "stop with Ctrl-C")
    after = port_of(bank)
    called = deposit(bank)
    read_until(tail, "MoneyDeposited")

    assert after == port
    assert called.code == 0, called.err
    assert interrupt(tail).code == 0
    assert interrupt(second).code == 0


def test_nats_start_says_how_its_server_has_ended(launch, bank):
    process = launch("nats", "start", cwd=bank)
    read_until(process, "until Ctrl-C")

    os.kill(announcement(bank)["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "The embedded NATS server has ended: signal 9" in err
    again = launch("nats", "start", cwd=bank)
    read_until(again, "until Ctrl-C")
    kill(again)


def test_nats_start_listens_where_the_url_says(launch, bank):
    port = free_port()
    address = f"nats://127.0.0.1:{port}"
    process = launch("--nats", address, "nats", "start", cwd=bank)
    (line,) = read_until(process, "until Ctrl-C")

    called = eskit("--nats", f"nats://localhost:{port}", "relay", "--once", cwd=bank)
    other = eskit("--nats", address, "nats", "start", "--port", "4999", cwd=bank)
    far = eskit("--nats", "nats://nats.example.com", "nats", "start", cwd=bank)
    interrupt(process)

    assert address in line
    assert called.code == 0, called.err
    assert other.code == 2
    assert f"looks for NATS on port {port}, not on 4999" in other.err
    assert far.code == 1
    assert "which eskit does not start" in far.err
