"""Hints act on what the command they came from was told of, also when they are pasted."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing

import pytest

from eskit.cli.terminal.hints import Hints
from tests.support.running import eskit, interrupt, read_until


@pytest.fixture
def hints():
    return Hints(
        commands=("gen", "new", "replay", "store", "stream"),
        folder=("-C", "my bank"),
        stores=("--store", "sqlite:///x.db?mode=ro"),
        tenants=("--tenant", "acme"),
    )


@pytest.mark.parametrize(
    ("hint", "completed"),
    [
        ("Run: eskit store migrate", "Run: eskit {all} store migrate"),
        (
            "Look: eskit store info. Then eskit store verify, or ask.",
            "Look: eskit {all} store info. Then eskit {all} store verify, or ask.",
        ),
        ("Generate it: eskit gen", "Generate it: eskit -C 'my bank' gen"),
        (
            "See it: eskit stream read A-1 --after 2",
            "See it: eskit {all} stream read --tenant acme A-1 --after 2",
        ),
        ("eskit replay A-1 --tenant foo", "eskit {all} replay A-1 --tenant foo"),
        ("See: eskit store --help", "See: eskit store --help"),
        (
            "As eskit does: eskit --store URL store info",
            "As eskit does: eskit --store URL store info",
        ),
    ],
)
def test_every_command_in_a_hint_is_completed_and_nothing_else(hints, hint, completed):
    everything = "-C 'my bank' --store 'sqlite:///x.db?mode=ro'"

    assert hints.complete(hint) == completed.format(all=everything)


def test_a_login_is_not_repeated(cli):
    nats = ("--nats", "nats://ann:secret@127.0.0.1:9")

    ran = cli(*nats, "stream", "list", "--store", "sqlite:///none.db")

    assert "eskit --store sqlite:///none.db --nats 'nats://…@127.0.0.1:9' store init" in ran.err


def lose_claims(url):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute("DELETE FROM claims")


@pytest.mark.promise("hints-keep-their-target")
def test_the_hint_of_a_finding_mends_the_store_it_was_found_in(bank):
    copy = "sqlite:///copy.db"
    assert eskit("store", "backup", "copy.db", cwd=bank).code == 0
    lose_claims(f"sqlite:///{bank / 'copy.db'}")

    found = eskit("store", "verify", "--store", copy, cwd=bank)
    as_json = eskit("store", "verify", "--store", copy, "--json", cwd=bank)
    command = as_json.json["data"]["findings"][0]["hint"].partition(": ")[2]
    mended = eskit(*shlex.split(command)[1:], cwd=bank)

    assert command == f"eskit --store {copy} claim rebuild"
    assert f"         Repair them: {command}\n" in found.out
    assert (mended.code, mended.out.splitlines()[0]) == (
        0,
        "2 claims by the log, 2 differences, repaired",
    )
    assert eskit("store", "verify", "--store", copy, cwd=bank).code == 0


def test_a_tail_of_another_store_goes_on_there(launch, store_url, tmp_path):
    process = launch("tail", "--store", store_url, cwd=tmp_path)
    read_until(process, "TWO")

    ended = interrupt(process)

    assert ended.err.endswith(f" · continue with: eskit --store {store_url} tail --after 2\n")


def test_the_hint_about_a_tenants_stream_names_the_tenant(bank):
    data = '{"account_id": "acc-1", "owner_name": "Eve", "initial_balance": "1.00"}'
    method = "account.v1.AccountCommandService/OpenAccount"
    assert eskit("call", method, "--tenant", "acme", "--data", data, cwd=bank).code == 0
    rules = bank / "bank" / "domain" / "account.py"
    rules.write_text(
        rules.read_text().replace("self.state.owner_name =", "self.state.nothing =", 1)
    )

    ran = eskit("replay", "Account-acc-1", "--tenant", "acme", cwd=bank)
    command = ran.err.partition("See the event: ")[2].strip()
    shown = eskit(*shlex.split(command)[1:], cwd=bank)

    assert command.startswith("eskit stream read --tenant acme Account-acc-1")
    assert (shown.code, "Eve" in shown.out) == (0, True)


def test_the_next_steps_are_of_the_folder_unless_the_first_goes_there(cli):
    assert cli("new", "project", "shop").code == 0

    begun = cli("-C", "shop", "new", "aggregate", "Invoice", "--field", "cents:int64")
    other = cli("-C", "shop", "new", "project", "bank", "--template", "bank", "--dry-run")

    assert "  eskit -C shop new aggregate " in begun.out
    assert "  cd shop/bank\n  eskit gen\n" in other.out
