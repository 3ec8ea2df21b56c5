"""`eskit call` without the app, its list of methods, and their completion in the shell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eskit.codegen.reading.protoc import parse_protos
from tests.support.running import DEPOSIT, OPEN, eskit, read_until

QUERY = "account.v1.AccountQueryService/GetAccount"


@pytest.fixture
def served(bank, launch) -> str:
    """The URL at which the bank answers."""
    read_until(launch("serve", cwd=bank), "stop with Ctrl-C")
    url: str = json.loads((bank / ".eskit" / "nats.json").read_text())["url"]
    return url


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder that is in no project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def project_of_protos(bank, folder) -> Path:
    """A project with the bank's protos and nothing else."""
    shutil.copytree(bank / "proto", folder / "proto")
    (folder / "eskit.toml").write_text('proto = ["proto"]\n')
    return folder


def descriptor_set(bank, path) -> Path:
    path.write_bytes(parse_protos([bank / "proto"]).files.SerializeToString())
    return path


def deposit(*args, cwd, amount="1.00"):
    data = json.dumps({"account_id": "acc-001", "amount": amount})
    return eskit("call", DEPOSIT, "--data", data, *args, cwd=cwd)


def test_one_method_is_listed_with_all_that_its_protos_say(bank):

    shown = eskit("call", "--list", QUERY.replace("GetAccount", "ListAccounts"), cwd=bank)
    as_json = eskit("call", "--list", DEPOSIT, "--json", cwd=bank)

    assert shown.code == as_json.code == 0
    lines = [line.split(maxsplit=2) for line in shown.out.splitlines()]
    assert ["page_size", "int32", "At most 1,000; 100 when 0."] in lines
    assert any(line[:2] == ["status", "account.v1.AccountStatus"] for line in lines)
    (method,) = as_json.json["data"]
    assert method["doc"] == "Adds money to an open account."
    assert [field["name"] for field in method["fields"]] == ["account_id", "amount"]
    assert method["fields"][1]["doc"] == "A decimal above 0."


def test_without_protos_a_method_is_listed_without_comments(bank):
    shutil.rmtree(bank / "proto")

    (method,) = eskit("call", "--list", DEPOSIT, "--json", cwd=bank).json["data"]

    assert method["doc"] == ""
    assert [field["name"] for field in method["fields"]] == ["account_id", "amount"]


def test_protos_alone_are_enough_to_call(bank, served, elsewhere):
    folder = project_of_protos(bank, elsewhere)

    done = deposit("--nats", served, "--debug", cwd=folder)
    rejected = deposit("--nats", served, "--json", cwd=folder, amount="-1")
    queried = eskit("call", QUERY, "--nats", served, "--json", cwd=folder)

    assert done.code == 0, done.err
    assert 'new_balance  "1201.25"' in done.out
    assert "methods  from the protos of the project" in done.err
    assert "sent  over NATS" in done.err
    assert rejected.code == 1
    assert rejected.json["error"]["code"] == "INVALID_AMOUNT"
    assert queried.code == 1


def test_what_the_store_has_recorded_is_enough_to_call(bank, served, elsewhere):
    store = f"sqlite:///{bank / 'bank.db'}"

    done = deposit("--nats", served, "--store", store, "--debug", cwd=elsewhere)

    assert done.code == 0, done.err
    assert 'new_balance  "1201.25"' in done.out
    assert f"methods  from the schemas in {store}" in done.err


def test_a_descriptor_set_is_enough_to_call(bank, served, elsewhere):
    file = descriptor_set(bank, elsewhere / "bank.binpb")

    done = deposit("--nats", served, "--descriptors", file.name, cwd=elsewhere)

    assert done.code == 0, done.err
    assert 'new_balance  "1201.25"' in done.out


def test_over_nats_code_that_does_not_import_is_not_needed(bank, served):
    shutil.rmtree(bank / "bank" / "gen")

    done = deposit("--via", "nats", "--debug", cwd=bank)
    here = deposit(cwd=bank)

    assert done.code == 0, done.err
    assert "methods  not from the app: Cannot import" in done.err
    assert here.code == 1
    assert "eskit gen" in here.err


def test_a_call_that_timed_out_is_sent_again_with_its_id_and_done_once(bank, launch):
    serving = launch("serve", cwd=bank)
    read_until(serving, "stop with Ctrl-C")
    again = ("--via", "nats", "--command-id", "one-and-only", "--json")

    serving.send_signal(signal.SIGSTOP)
    timed_out = deposit(*again, "--timeout", "0.5", cwd=bank)
    serving.send_signal(signal.SIGCONT)
    done = deposit(*again, cwd=bank)
    twice = deposit("--via", "nats", "--command-id", "one-and-only", cwd=bank)
    events = eskit("stream", "read", "Account-acc-001", "--json", cwd=bank).records

    assert timed_out.code == 1
    assert timed_out.json["error"]["code"] == "TIMEOUT"
    assert "same command id" in timed_out.json["error"]["hint"]
    assert (done.code, done.json["data"]["new_balance"]) == (0, "1201.25")
    assert "was carried out before" in twice.out
    assert [event["version"] for event in events] == [1, 2, 3, 4]


@pytest.mark.parametrize("via", ["process", "nats"])
def test_a_stream_that_has_moved_on_is_a_verdict(bank, served, via):
    stale = deposit("--via", via, "--expected-version", "1", "--json", cwd=bank)
    right = deposit("--via", via, "--expected-version", "3", cwd=bank)

    assert stale.code == 1
    assert stale.json["error"]["code"] == "VERSION_CONFLICT"
    assert right.code == 0, right.err


def test_without_the_app_a_call_needs_somebody_who_answers(bank, elsewhere):
    ran = deposit(cwd=project_of_protos(bank, elsewhere))

    assert ran.code == 1
    assert "No NATS server of this project is running" in ran.err


def test_in_process_is_not_possible_without_the_app(bank, elsewhere):
    folder = project_of_protos(bank, elsewhere)
    file = descriptor_set(bank, elsewhere / "bank.binpb")

    without = deposit("--via", "process", cwd=folder)
    by_file = deposit("--via", "process", "--descriptors", str(file), cwd=folder)

    assert (without.code, by_file.code) == (1, 2)
    assert "names no app" in without.err
    assert "--via nats" in by_file.err


def test_where_no_method_is_known_it_says_what_would_help(elsewhere):
    (elsewhere / "eskit.toml").write_text("")

    ran = eskit("call", "--list", cwd=elsewhere)

    assert ran.code == 2
    assert "Nothing here says which methods there are" in ran.err
    assert "--descriptors" in ran.err
    assert [path.name for path in elsewhere.iterdir()] == ["eskit.toml"]


def test_a_file_that_is_no_descriptor_set_is_named(bank):
    for file, code in (("bank.db", 2), ("nowhere", 1)):
        ran = eskit("call", "--list", "--descriptors", file, cwd=bank)

        assert ran.code == code
        assert file in ran.err


def test_an_unknown_method_of_the_schemas_is_answered_with_the_nearest(bank, elsewhere):
    ran = eskit("call", "Deposit", cwd=project_of_protos(bank, elsewhere))

    assert ran.code == 1
    assert f"Did you mean {DEPOSIT}?" in ran.err


def test_every_source_lists_the_same_methods(bank, elsewhere):
    file = descriptor_set(bank, elsewhere / "bank.binpb")
    of_app = eskit("call", "--list", "--json", cwd=bank).json["data"]
    of_file = eskit("call", "--list", "--json", "--descriptors", str(file), cwd=elsewhere)
    of_store = eskit(
        "call", "--list", "--json", "--store", f"sqlite:///{bank / 'bank.db'}", cwd=elsewhere
    )
    of_protos = eskit("call", "--list", "--json", cwd=project_of_protos(bank, elsewhere))

    assert [item["method"] for item in of_app][:2] == [OPEN, DEPOSIT]
    assert of_file.json["data"] == of_app
    assert of_store.json["data"] == of_app
    assert of_protos.json["data"] == of_app


def test_listed_methods_show_their_requests(bank):
    shown = eskit("call", "--list", cwd=bank)
    listed = eskit("call", "--list", "--json", cwd=bank).json["data"]

    assert f"command  {DEPOSIT}\n         account_id string, amount string\n" in shown.out
    (deposit,) = (method for method in listed if method["method"] == DEPOSIT)
    assert (deposit["kind"], deposit["request"], deposit["response"]) == (
        "command",
        "account.v1.DepositCommand",
        "account.v1.DepositResponse",
    )
    assert [(field["name"], field["type"]) for field in deposit["fields"]] == [
        ("account_id", "string"),
        ("amount", "string"),
    ]


def complete(*words: str, cwd: Path) -> list[str]:
    """What bash is told when the last word is completed."""
    ran = subprocess.run(
        [sys.executable, "-m", "eskit"],
        cwd=cwd,
        env={
            **os.environ,
            "_ESKIT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["eskit", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


def test_methods_are_completed(bank, elsewhere):
    commands = complete("call", "account.v1.AccountCommandService/", cwd=bank)
    from_outside = complete("-C", str(bank), "call", "account.v1.AccountC", cwd=elsewhere)
    from_store = complete(
        "call", "--store", f"sqlite:///{bank / 'bank.db'}", DEPOSIT[:-3], cwd=elsewhere
    )

    assert DEPOSIT in commands
    assert QUERY not in commands
    assert from_outside == commands
    assert from_store == [DEPOSIT]


def test_completion_runs_no_code_of_the_project_and_never_fails(bank, elsewhere):
    (bank / "bank" / "app.py").write_text("print('hello')\nraise SystemExit(7)\n")
    completed = complete("call", DEPOSIT[:-3], cwd=bank)
    (bank / "proto" / "account" / "v1" / "account.proto").write_text("nonsense")

    assert completed == [DEPOSIT]
    assert complete("call", DEPOSIT[:-3], cwd=bank) == []
    assert complete("call", "a", cwd=elsewhere) == []
    assert complete("-C", "nowhere", "call", "a", cwd=elsewhere) == []
    assert complete("call", "--descriptors", "nowhere", "a", cwd=elsewhere) == []


def test_an_app_without_methods_says_where_they_are_added(tmp_path):
    assert eskit("new", "project", "blank", cwd=tmp_path).code == 0

    listed = eskit("call", "--list", cwd=tmp_path / "blank")
    as_json = eskit("call", "--list", "--json", cwd=tmp_path / "blank")
    called = eskit("call", DEPOSIT, cwd=tmp_path / "blank")

    assert listed.out == (
        "No methods in the app blank.app:app\n"
        "Add aggregates=[…] or queries=[…] to App(…) in blank/app.py\n"
    )
    assert as_json.json["data"] == []
    assert called.code == 1
    assert called.err == (
        f"error  No method '{DEPOSIT}': there are none yet\n"
        "       Declare it in a proto, and add aggregates=[…] or queries=[…] to App(…).\n"
    )
