"""Each bad input gives a clear sentence and its exit code, and writes nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.running import DEPOSIT, OPEN, eskit, start

FULL = Path("/dev/full")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_no_project_here(cli, tmp_path):
    for command in (["gen"], ["call", "--list"], ["project", "status"], ["stream", "list"]):
        ran = cli(*command, "--json")

        assert ran.code == 1
        assert ran.json["error"]["code"] == "PROJECT_NOT_FOUND"
        assert ran.json["error"]["hint"] == "Start one: eskit new project NAME"
    assert files(tmp_path) == []


def test_a_folder_that_does_not_exist(cli, tmp_path):
    ran = cli("-C", "nowhere", "stream", "list")

    assert ran.code == 1
    assert "nowhere" in ran.err


def test_a_folder_that_does_not_exist_is_not_its_parents_project(bank):
    for typed in ("nowhere", "pyproject.toml"):
        ran = eskit("-C", typed, "stream", "list", cwd=bank)

        assert (ran.code, ran.out) == (1, "")
        assert f"There is no folder {typed}" in ran.err


def test_an_unknown_template_names_those_there_are(cli, tmp_path):
    ran = cli("new", "project", "shop", "--template", "bnak")

    assert ran.code == 1
    assert "'bnak'" in ran.err
    assert "bank" in ran.err
    assert files(tmp_path) == []


def test_an_existing_target_folder_is_left_alone(cli, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").write_text("mine")

    ran = cli("new", "project", "shop", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "TARGET_EXISTS"
    assert files(tmp_path) == ["shop", "shop/mine.txt"]


def test_dry_run_writes_nothing(cli, tmp_path):
    ran = cli("new", "project", "shop", "--dry-run", "--json")

    assert ran.code == 0
    assert ran.json["data"]["created"] is False
    assert "pyproject.toml" in ran.json["data"]["files"]
    assert files(tmp_path) == []


def test_a_proto_with_a_syntax_error_is_pointed_at_and_nothing_is_written(bank):
    before = files(bank)
    proto = bank / "proto" / "account" / "v1" / "account.proto"
    proto.write_text(proto.read_text().replace("message OpenAccountCommand {", "message {"))

    ran = eskit("gen", cwd=bank)
    as_json = eskit("gen", "--json", cwd=bank)

    assert ran.code == 1
    assert "account.proto:" in ran.err
    assert "│ message {" in ran.err
    assert "^" in ran.err
    assert "nothing written" in ran.err
    assert as_json.code == 1
    (diagnostic,) = as_json.json["diagnostics"]
    assert diagnostic["severity"] == "error"
    assert diagnostic["line"] > 0
    assert files(bank) == before


def test_generated_code_that_is_behind_is_found(bank):
    proto = bank / "proto" / "account" / "v1" / "account.proto"
    proto.write_text(proto.read_text().replace("// One account.", "// A single account."))

    fresh = eskit("gen", "--check", "--json", cwd=bank)

    assert fresh.code == 3
    assert fresh.json["status"] == "failed"
    assert "bank/gen/account/v1/account_es.py" in fresh.json["data"]["stale"]
    assert fresh.json["data"]["edited"] == []
    assert eskit("gen", cwd=bank).code == 0
    assert eskit("gen", "--check", cwd=bank).code == 0


def test_a_proto_in_ruins_is_told_in_full_and_what_to_do_once(bank):
    proto = bank / "proto" / "account" / "v1" / "account.proto"
    proto.write_text(proto.read_text().replace("service AccountCommandService {", "service X {{"))

    ran = eskit("gen", cwd=bank)
    as_json = eskit("gen", "--json", cwd=bank)

    found = len(as_json.json["diagnostics"])
    assert found > 10
    assert ran.err.count("account.proto:") == found
    assert ran.err.count("Correct the proto and try again.") == 1


@pytest.mark.parametrize("command", [["schema", "check"], ["catalog"], ["gen", "--check"]])
def test_a_proto_in_ruins_is_corrected_for_the_command_that_was_run(bank, command):
    proto = bank / "proto" / "account" / "v1" / "account.proto"
    proto.write_text(proto.read_text().replace("service AccountCommandService {", "service X {{"))

    ran = eskit(*command, cwd=bank)

    assert ran.code == 1
    assert "Correct the proto and try again." in ran.err
    assert "eskit gen" not in ran.err


def test_edited_generated_code_is_not_overwritten(bank):
    generated = bank / "bank" / "gen" / "sdk.py"
    generated.write_text(generated.read_text() + "# mine\n")

    checked = eskit("gen", "--check", "--json", cwd=bank)
    refused = eskit("gen", cwd=bank)
    forced = eskit("gen", "--force", cwd=bank)

    assert (checked.code, checked.json["data"]["edited"]) == (3, ["bank/gen/sdk.py"])
    assert refused.code == 1
    assert "sdk.py" in refused.err
    assert forced.code == 0
    assert "# mine" not in generated.read_text()


@pytest.mark.parametrize("command", ["stream read", "replay"])
def test_an_unknown_stream(bank, command):
    ran = eskit(*command.split(), "Account-zzz-999", cwd=bank)
    misspelt = eskit(*command.split(), "Acount-acc-001", cwd=bank)
    impossible = eskit("replay", "nonsense", cwd=bank)

    assert (ran.code, ran.out) == (1, "")
    assert "No stream 'Account-zzz-999'" in ran.err
    assert misspelt.code == 1
    assert "Did you mean Account-acc-001?" in misspelt.err
    assert impossible.code == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("{", "Not JSON"),
        ("[]", "is a JSON object, not list"),
        ('{"ownr_name": "x"}', "Did you mean owner_name?"),
        ('{"account_id": 7}', "account_id"),
    ],
)
def test_data_that_is_no_such_request_is_wrong_usage(bank, data, says):
    ran = eskit("call", OPEN, "--data", data, cwd=bank)

    assert ran.code == 2
    assert ran.out == ""
    assert says in ran.err


def test_a_misspelt_method_suggests_the_nearest(bank):
    ran = eskit("call", OPEN.replace("OpenAccount", "OpenAcount"), "--json", cwd=bank)

    assert (ran.code, ran.json["error"]["code"]) == (1, "NOT_FOUND")
    assert OPEN in ran.json["error"]["hint"]


def test_a_rejection_is_a_failed_result_with_exit_1(bank):
    data = json.dumps({"account_id": "acc-001", "amount": "9999.00"})

    withdraw = "account.v1.AccountCommandService.Withdraw"
    ran = eskit("call", withdraw, "--data", data, "--json", cwd=bank)
    shown = eskit("call", withdraw, "--data", data, cwd=bank)

    assert ran.code == 1
    assert ran.json["status"] == "failed"
    assert ran.json["data"] is None
    assert set(ran.json["error"]) == {"code", "message", "solution", "details"}
    assert shown.code == 1
    assert "rejected  INSUFFICIENT_FUNDS" in shown.err


@pytest.mark.parametrize(
    "command",
    [
        ["call", OPEN, "--via", "nats", "--data", "{}"],
        ["relay", "--once"],
        ["tail", "--source", "nats", "--no-follow"],
    ],
)
def test_nats_that_cannot_be_reached(bank, command):
    nowhere = eskit(*command, "--nats", "nats://127.0.0.1:9", cwd=bank)
    not_started = eskit(*command, cwd=bank)

    assert nowhere.code == 1
    assert "127.0.0.1:9 cannot be reached" in nowhere.err
    assert not_started.code == 1
    assert "No NATS server of this project is running" in not_started.err
    assert "Traceback" not in nowhere.err + not_started.err


def test_a_store_written_by_a_newer_eskit(bank):
    with closing(sqlite3.connect(bank / "bank.db")) as database, database:
        database.execute("PRAGMA user_version = 9999")
    database.close()

    ran = eskit("stream", "list", "--json", cwd=bank)

    assert ran.code == 1
    assert ran.json["error"]["code"] == "SCHEMA_TOO_NEW"


def test_a_store_that_may_only_be_read(bank):
    for file in bank.glob("bank.db*"):
        file.chmod(stat.S_IRUSR)
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    data = json.dumps({"account_id": "acc-9", "owner_name": "Z", "initial_balance": "1"})

    read = eskit("stream", "list", cwd=bank)
    written = eskit("call", OPEN, "--data", data, "--json", cwd=bank)

    assert read.code == 0
    assert written.code == 1
    assert written.json["error"]["code"] == "STORE_UNAVAILABLE"


def test_wrong_usage_is_exit_2_and_an_envelope_with_json(cli):
    for command in (["stream", "read"], ["stream", "list", "--limit", "x"], ["stream", "--nope"]):
        ran = cli(*command, "--json")

        assert ran.code == 2, command
        assert "Traceback" not in ran.err
    ran = cli("stream", "list", "--limit", "x", "--json")
    assert ran.json["error"]["code"] == "USAGE"
    assert "--help" in ran.json["error"]["hint"]


def test_a_key_given_twice_is_wrong_usage_and_nothing_happens(bank):
    twice = '{"account_id": "acc-001", "amount": "1.00", "amount": "100.00"}'

    ran = eskit("call", DEPOSIT, "--data", twice, cwd=bank)

    assert ran.code == 2
    assert "'amount' is given twice" in ran.err
    assert eskit("store", "info", "--json", cwd=bank).json["data"]["events"] == 4


def test_a_method_without_its_service_is_found_for_the_suggestion(bank):
    for typed in (
        "Deposit",
        "Depost",
        "AccountCommandService/Deposit",
        "AccountCommandServic/Deposit",
    ):
        ran = eskit("call", typed, cwd=bank)

        assert ran.code == 1
        assert f"Did you mean {DEPOSIT}?" in ran.err


def test_a_choice_that_is_none_names_those_there_are(cli):
    ran = cli("call", "x.v1.X/Y", "--via", "pigeon")

    assert ran.code == 2
    assert "--via" in ran.err
    assert "'process', 'nats'" in ran.err
    assert "Value error" not in ran.err


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_exit_1(bank):
    with FULL.open("w") as full:
        ran = start("stream", "list", cwd=bank, terminal=full.fileno())
        code = ran.wait(30)

    assert code == 1


def test_an_unknown_command_suggests_the_nearest(cli):
    assert "Did you mean 'stream'?" in cli("straem").err
    assert "Did you mean 'list'?" in cli("stream", "lst").err


def test_a_misspelt_command_suggests_the_nearest_only_and_none_that_destroys(cli):
    ran = cli("stream", "reads")

    assert "Did you mean 'read'?" in ran.err
    assert "erase" not in ran.err


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("--store", ["stream", "list", "--store", ""]),
        ("--store", ["--store=", "stream", "list"]),
        ("-C", ["-C", "", "stream", "list"]),
        ("--nats", ["--nats", "", "relay", "--once"]),
        ("--at", ["replay", "Account-acc-001", "--at", ""]),
        ("--index", ["claim", "list", "--index", ""]),
        ("--prefix", ["snapshot", "prune", "--keep", "0", "--prefix", ""]),
        ("--check", ["catalog", "--check", ""]),
        ("--type", ["tail", "--type", "Opened", "--type", ""]),
    ],
)
def test_an_empty_option_is_wrong_usage_and_not_as_if_it_were_left_out(cli, option, command):
    ran = cli(*command)

    assert ran.code == 2
    assert ran.err.startswith(f"error  {option} is empty\n")


def test_an_argument_with_nothing_in_it_is_wrong_usage(cli):
    assert cli("project", "run", "").err.startswith("error  NAME is empty\n")
    assert cli("deadletter", "list", "").code == 2


@pytest.mark.promise("empty-options-are-errors")
def test_an_empty_store_does_not_stand_for_the_projects_own(bank):
    ran = eskit(
        *("stream", "erase", "Account-acc-001", "--reason", "request 17", "--yes", "--store", ""),
        cwd=bank,
    )

    assert ran.code == 2
    assert ran.err.startswith("error  --store is empty\n")
    read = eskit("stream", "read", "Account-acc-001", "--json", cwd=bank)
    assert read.records[0]["data"]["owner_name"] == "Alice"


def test_an_empty_tenant_is_the_default_one(cli, store_url):
    ran = cli("stream", "read", "Thing-a1", "--tenant", "", "--store", store_url, "--json")

    assert (ran.code, len(ran.records)) == (0, 2)


def test_what_is_wrong_with_an_option_follows_its_name(cli):
    assert cli("call", "x.v1.X/Y", "--via", "pigeon").err.startswith("error  --via: 'pigeon' is")


def test_republish_destroys_and_so_needs_a_yes(bank):
    ran = eskit("relay", "--republish", cwd=bank)

    assert ran.code == 2
    assert "--yes" in ran.err


def test_debug_shows_settings_and_the_traceback(bank):
    ran = eskit("--debug", "stream", "read", "Account-none", cwd=bank)

    assert ran.code == 1
    assert "nats = embedded  (pyproject.toml)" in ran.err
    assert "nats_prefix = bank.events  (default)" in ran.err
    assert f"read_models = sqlite:///{bank}/bank_read.db  (default)" in ran.err
    assert "Traceback" in ran.err
    assert "\n\n  File" not in ran.err


def test_a_project_whose_code_does_not_import(bank):
    (bank / "bank" / "app.py").write_text("import nonsense_that_is_nowhere\n")

    ran = eskit("project", "status", cwd=bank)
    needs_no_app = eskit("stream", "read", "Account-acc-001", "--json", cwd=bank)

    assert ran.code == 1
    assert "nonsense_that_is_nowhere" in ran.err
    assert "Traceback" not in ran.err
    assert needs_no_app.code == 0
    assert needs_no_app.records[0]["data"]["owner_name"] == "Alice"


@pytest.mark.parametrize(
    "command",
    [
        ["call", "account.v1.Nothing/Open", "--data", "{}"],
        ["new", "project", "shop", "--template", "bnak"],
        ["new", "aggregate", "account/v1/acount.proto"],
        ["new", "projection", "names", "--on", "AcountOpenedEvent"],
        ["deadletter", "show", "account-balance", "4711"],
        ["schema", "check", "--against", "no-such-ref"],
        ["call", "--list", "--descriptors", "none.binpb"],
        ["nats", "start", "--tls-cert", "none.pem", "--tls-key", "none.pem"],
        ["stream", "read", "Account-none"],
        ["checkpoint", "show", "none"],
        ["project", "status", "none"],
        ["store", "import", "none.jsonl", "--store", "sqlite:///new.db"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_what_is_not_there_is_a_failure_and_no_wrong_usage(bank, command):
    ran = eskit(*command, cwd=bank)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error  ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stream", "read", "Account-none"], 1),
        (["stream", "read"], 2),
        (["replay", "Account-none"], 1),
        (["replay", "Account-acc-001", "--to-version", "none"], 2),
        (["tail", "--from", "nowhere"], 2),
        (["tail", "--none"], 2),
        (["serve", "--none"], 2),
        (["dev", "--health", "none"], 2),
        (["project", "status", "--watch", "none"], 1),
    ],
)
@pytest.mark.promise("json-is-one-answer")
def test_what_prints_a_line_per_item_tells_of_its_failure_on_stderr(bank, words, code):
    ran = eskit(*words, "--json", cwd=bank)

    assert (ran.code, ran.out) == (code, "")
    assert json.loads(ran.err.splitlines()[-1])["status"] == "error"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stream", "list", "--limit", "none"], 2),
        (["store", "export"], 2),
        (["checkpoint", "show", "none"], 1),
        (["straem"], 2),
    ],
)
@pytest.mark.promise("json-is-one-answer")
def test_what_prints_one_object_tells_of_its_failure_in_it(bank, words, code):
    ran = eskit(*words, "--json", cwd=bank)

    assert (ran.code, ran.json["status"]) == (code, "error")
