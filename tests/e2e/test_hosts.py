"""Two hosts serve one bank whose events are in PostgreSQL: one relays, one reacts, both answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from eskit.nats.server import EmbeddedNats
from tests.support.postgres import new_store
from tests.support.running import OPEN, configure, eskit, interrupt, read_until

NAMED = "import os, socket\nsocket.gethostname = lambda: os.environ['NAME_OF_HOST']\n"
CALLER = """
import asyncio, sys
from bank.gen.account.v1 import account_es, account_pb2 as pb
from eskit.clients import CallOptions, NatsTransport, connected
url, stop = sys.argv[1], asyncio.Event()

async def main():
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    done, errors = 0, []
    async with connected(url) as connection:
        client = account_es.AccountCommandClient(NatsTransport(connection))
        while not stop.is_set():
            command = pb.DepositCommand(account_id="acc-1", amount="1.00")
            try:
                await client.deposit(command, options=CallOptions(timeout=30.0))
            except Exception as error:
                errors.append(repr(error))
            done += 1
            if done == 1:
                print("calling", flush=True)
    print(done, errors, flush=True)

asyncio.run(main())
"""


class Hosts:
    """The folders of a project on hosts by name, and what runs there."""

    def __init__(self, launch, folder, store, nats) -> None:
        self._launch, self._folder, self._nats = launch, folder, nats
        assert eskit("new", "project", "bank", "--template", "bank", cwd=folder).code == 0
        self.project = folder / "bank"
        configure(self.project, store=store, nats=nats, read_models="sqlite:///bank_read.db")
        assert eskit("gen", cwd=self.project).code == 0
        (folder / "named").mkdir()
        (folder / "named" / "sitecustomize.py").write_text(NAMED)

    def serve(self, name):
        """Run everything on a host, in a folder of its own."""
        target = self._folder / name
        if not target.exists():
            shutil.copytree(self.project, target)
        path = os.pathsep.join([str(self._folder / "named"), *sys.path])
        environment = {"NAME_OF_HOST": name, "PYTHONPATH": path}
        process = self._launch("serve", cwd=target, env=environment)
        read_until(process, "stop with Ctrl-C", within=60)
        return process

    def open(self, account, amount):
        """Open an account from a third host."""
        data = {"account_id": account, "owner_name": "Ann", "initial_balance": amount}
        ran = eskit("call", OPEN, "--data", json.dumps(data), cwd=self.project)
        assert ran.code == 0, ran.err

    def relay(self):
        return eskit("relay", "--status", "--json", cwd=self.project).json["data"]

    def reaction(self):
        return eskit("reaction", "status", "--json", cwd=self.project).json["data"][0]

    def welcomes(self, account):
        """How often the reaction has given the welcome gift."""
        read = eskit("stream", "read", f"Account-{account}", "--json", cwd=self.project)
        return sum("Deposited" in event["event_type"] for event in read.records)

    @contextmanager
    def calling(self):
        """Somebody calls over NATS all the time; yields what to call for the outcome."""
        process = subprocess.Popen(
            [sys.executable, "-c", CALLER, self._nats],
            cwd=self.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout.readline() == "calling\n"
            yield lambda: process.communicate("\n", timeout=120)[0].split(" ", 1)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def hosts(launch, tmp_path, postgres):
    with EmbeddedNats() as server:
        yield Hosts(launch, tmp_path, new_store(postgres), server.url)


def until(look, within=120.0):
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, "did not come"
        time.sleep(0.1)
    return found


def held_by(hosts, name):
    """Whether a host relays and reacts."""
    return (hosts.relay()["host"], hosts.reaction()["host"]) == (name, name)


@pytest.mark.promise("one-holder-over-hosts")
def test_hosts_are_restarted_one_after_the_other_and_no_caller_notices(hosts):
    hosts.open("acc-1", "1000.00")
    first = hosts.serve("web-1")
    until(lambda: held_by(hosts, "web-1"))
    second = hosts.serve("web-2")
    with hosts.calling() as outcome:
        ended = [interrupt(first)]
        until(lambda: held_by(hosts, "web-2"))
        first = hosts.serve("web-1")
        ended.append(interrupt(second))
        until(lambda: held_by(hosts, "web-1"))
        second = hosts.serve("web-2")
        done, errors = outcome()
    until(lambda: hosts.relay()["position"] == hosts.relay()["head"])
    status = eskit("relay", "--status", cwd=hosts.project)
    ended += [interrupt(second), interrupt(first)]

    assert errors.strip() == "[]"
    assert hosts.relay()["head"] == 1 + int(done)  # each deposit is there once
    assert f"running in process {first.pid} on web-1" in status.out
    assert [ran.code for ran in ended] == [0] * 4, ended


@pytest.mark.promise("one-holder-over-hosts")
def test_a_host_takes_over_from_one_that_is_frozen_and_goes_on_when_that_wakes(hosts):
    first = hosts.serve("web-1")
    until(lambda: held_by(hosts, "web-1"))
    second = hosts.serve("web-2")

    first.send_signal(signal.SIGSTOP)
    until(lambda: held_by(hosts, "web-2"))
    hosts.open("acc-1", "200000.00")
    until(lambda: hosts.welcomes("acc-1") == 1)
    until(lambda: hosts.relay()["position"] == 2)
    first.send_signal(signal.SIGCONT)
    read_until(first, f"process {second.pid} on web-2", within=60)
    hosts.open("acc-2", "200000.00")
    until(lambda: hosts.welcomes("acc-2") == 1)
    until(lambda: hosts.relay()["position"] == 4)
    status = hosts.reaction()
    codes = [interrupt(first).code, interrupt(second).code]

    assert (status["host"], status["position"], status["error"]) == ("web-2", 4, None)
    assert (hosts.welcomes("acc-1"), hosts.welcomes("acc-2")) == (1, 1)
    assert codes == [0, 0]
