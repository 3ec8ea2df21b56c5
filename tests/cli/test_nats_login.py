"""The command line logs in to NATS with what is configured, and never shows it."""

from __future__ import annotations

import json

import pytest

from eskit.nats.server import EmbeddedNats
from tests.support.running import configure, eskit, interrupt, read_until

SECRET = "hush-hush/very secret"  # noqa: S105 - of a server of the test


@pytest.fixture
def server():
    with EmbeddedNats(token=SECRET) as server:
        yield server


def test_a_credentials_file_logs_in_relay_and_tail(bank, server):
    (bank / "nats.json").write_text(json.dumps({"token": SECRET}))
    configure(bank, nats=server.address, nats_credentials="nats.json")

    relayed = eskit("relay", "--once", cwd=bank)
    tailed = eskit("tail", "--from", "first", "--no-follow", "--source", "nats", cwd=bank)

    assert (relayed.code, tailed.code) == (0, 0), relayed.err + tailed.err
    assert len(tailed.out.splitlines()) == 4


def test_the_environment_comes_before_the_file(bank, server):
    (bank / "nats.json").write_text(json.dumps({"token": "old"}))
    configure(bank, nats=server.address, nats_credentials="nats.json")

    by_file = eskit("relay", "--once", cwd=bank)
    by_environment = eskit("relay", "--once", cwd=bank, env={"ESKIT_NATS_TOKEN": SECRET})

    assert by_file.code == 1
    assert "refused the credentials" in by_file.err
    assert by_environment.code == 0


def test_serve_logs_in_as_well(bank, server, launch):
    configure(bank, nats=server.address)

    process = launch("serve", cwd=bank, env={"ESKIT_NATS_TOKEN": SECRET})
    read_until(process, "stop with Ctrl-C")
    ended = interrupt(process)

    assert ended.code == 0, ended.err


@pytest.mark.parametrize("options", [["--debug"], ["--json", "--debug"], []])
def test_no_secret_is_ever_shown(bank, server, options):
    wrong = "wr0ng-secret"
    configure(bank, nats=server.address.replace("://", f"://{wrong}@"))

    ran = eskit("relay", "--once", *options, cwd=bank)

    assert ran.code == 1
    assert "refused the credentials" in ran.out + ran.err
    assert wrong not in ran.out + ran.err
