"""Schema care from the command line: on a bank with events, with and without its code."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing

import pytest

from tests.support.running import eskit

PROTO = "proto/account/v1/account.proto"


def edit(bank, old, new):
    proto = bank / PROTO
    text = proto.read_text()
    assert old in text
    proto.write_text(text.replace(old, new))


# --- reading without generated code ---


@pytest.mark.parametrize(
    "command",
    [
        ("stream", "read", "Account-acc-001"),
        ("tail", "--no-follow", "--from", "first", "--stream", "Account-acc-001"),
        ("replay", "Account-acc-001", "--no-state"),
    ],
    ids=["stream read", "tail", "replay --no-state"],
)
@pytest.mark.promise("events-need-no-code")
def test_stored_events_are_shown_without_generated_code(bank, tmp_path, command):
    with_code = eskit(*command, "--json", cwd=bank)
    (tmp_path / "alone").mkdir()
    shutil.rmtree(bank / "bank")

    without = eskit(*command, "--json", cwd=bank)
    outside = eskit(
        *command, "--json", "--store", f"sqlite:///{bank}/bank.db", cwd=tmp_path / "alone"
    )

    assert with_code.code == without.code == outside.code == 0
    assert without.out == with_code.out == outside.out
    assert without.records[0]["data"]["owner_name"] == "Alice"
    assert without.err == outside.err == ""


def test_a_type_neither_generated_nor_recorded_is_shown_as_bytes_with_a_reason(bank):
    with closing(sqlite3.connect(bank / "bank.db")) as store, store:
        store.execute("DELETE FROM event_schemas")
        store.execute("UPDATE kinds SET event_type = 'lost.v1.' || kind_id")

    ran = eskit("stream", "read", "Account-acc-001", "--json", cwd=bank)

    assert ran.code == 0
    assert "data" not in ran.records[0]
    assert ran.records[0]["data_base64"]
    assert ran.records[0]["diagnostics"][0]["code"] == "UNKNOWN_EVENT_TYPE"


def test_events_from_before_schemas_were_kept_are_read_with_generated_code(bank):
    with closing(sqlite3.connect(bank / "bank.db")) as store, store:
        store.execute("DELETE FROM event_schemas")

    ran = eskit("stream", "read", "Account-acc-001", "--json", cwd=bank)

    assert ran.records[0]["data"]["owner_name"] == "Alice"


# --- schema check ---


def test_an_unchanged_schema_fits(bank):
    ran = eskit("schema", "check", "--decode", "--json", cwd=bank)

    assert ran.code == 0
    assert (ran.json["status"], ran.json["data"]["verdict"]) == ("ok", "FULL")
    assert [f["rule"] for f in ran.json["data"]["findings"]] == ["UPCASTER_UNUSED"]


def test_a_retyped_field_is_told_with_a_stored_event_as_proof(bank):
    proto = bank / PROTO
    before, declared, after = proto.read_text().partition("message MoneyDepositedEvent {")
    proto.write_text(before + declared + after.replace("string amount", "int64 amount", 1))

    shown = eskit("schema", "check", cwd=bank)
    told = eskit("schema", "check", "--json", cwd=bank)

    assert (shown.code, told.code) == (3, 3)
    assert shown.out.splitlines()[:3] == [
        "BREAKING  account.v1.MoneyDepositedEvent.amount (2): string became int64",
        "          1 stored event, first at 2 in Account-acc-001",
        "          keep field 2 as it is, add a new field, and upcast; see docs/evolution.md",
    ]
    finding = told.json["data"]["findings"][0]
    assert told.json["status"] == "failed"
    assert (finding["rule"], finding["severity"]) == ("FIELD_TYPE_CHANGED", "breaking")
    assert (finding["events"], finding["first"]) == (
        1,
        {"global_position": 2, "stream": "Account-acc-001"},
    )


def test_a_git_ref_and_a_folder_are_compared_alike(bank, tmp_path):
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(bank))
    for command in (("init", "-q"), ("add", "proto"), ("commit", "-qm", "protos")):
        subprocess.run((*git, *command), check=True)
    shutil.copytree(bank / "proto", tmp_path / "old")
    edit(bank, "string final_balance = 2;", "string final_balance = 9;")

    by_ref = eskit("schema", "check", "--against", "HEAD", "--json", cwd=bank)
    by_folder = eskit("schema", "check", "--against", str(tmp_path / "old"), "--json", cwd=bank)
    neither = eskit("schema", "check", "--against", "nowhere", cwd=bank)

    assert by_ref.code == by_folder.code == 3
    assert by_ref.json["data"] == by_folder.json["data"]
    finding = by_ref.json["data"]["findings"][0]
    assert (finding["rule"], finding["field"]) == ("FIELD_NUMBER_CHANGED", "final_balance")
    assert (finding["events"], finding["first"]) == (0, None)
    assert neither.code == 1
    assert "no folder" in neither.err


def test_without_a_store_the_check_says_what_it_did_not_look_at(bank):
    for file in bank.glob("bank.db*"):
        file.unlink()

    ran = eskit("schema", "check", "--json", cwd=bank)

    assert ran.code == 0
    assert [d["code"] for d in ran.json["diagnostics"]] == ["NO_STORE"]
    assert not (bank / "bank.db").exists()


def test_protos_with_an_error_are_told_where(bank):
    edit(bank, "message Account {", "message Account ")

    ran = eskit("schema", "check", cwd=bank)

    assert ran.code == 1
    assert "account.proto" in ran.err


def test_an_app_that_does_not_load_leaves_only_upcasters_unchecked(bank):
    (bank / "bank/app.py").write_text("raise RuntimeError('broken')\n")

    ran = eskit("schema", "check", "--json", cwd=bank)

    assert (ran.code, ran.json["data"]["verdict"]) == (0, "FULL")
    assert "Upcasters were not looked at" in ran.json["diagnostics"][0]["message"]


# --- catalog ---


def test_the_catalog_says_who_emits_handles_and_reads_what(bank):
    ran = eskit("catalog", "--json", cwd=bank)

    [account] = ran.json["data"]["aggregates"]
    events = {event["event_type"].rpartition(".")[2]: event for event in account["events"]}
    assert events["MoneyDepositedEvent"]["emitted_by"] == ["Deposit"]
    assert events["MoneyDepositedEvent"]["handled_by"] == ["account-balance", "activity-log"]
    assert events["AccountOpenedEventV1"]["read_as"] == "account.v1.AccountOpenedEvent"
    assert account["commands"][0]["emits"] == ["account.v1.AccountOpenedEvent"]
    assert account["queries"][0]["reads"]


def test_the_catalog_says_who_reacts_to_what_with_which_command(bank):
    data = eskit("catalog", "--json", cwd=bank).json["data"]
    shown = eskit("catalog", cwd=bank).out
    diagram = eskit("catalog", "--markdown", cwd=bank).out

    [account] = data["aggregates"]
    reacted = {event["event_type"]: event["reacted_to_by"] for event in account["events"]}
    assert data["reactions"] == [
        {
            "name": "welcome",
            "handles": ["account.v1.AccountOpenedEvent"],
            "sends": ["account.v1.AccountCommandService/Deposit"],
        }
    ]
    assert reacted["account.v1.AccountOpenedEvent"] == ["welcome"]
    assert reacted["account.v1.MoneyDepositedEvent"] == []
    assert "reaction    welcome          on AccountOpenedEvent → Deposit\n" in shown
    assert "event1 --> reaction1" in diagram
    assert "reaction1 --> command2" in diagram
    assert "| welcome | AccountOpenedEvent | Deposit |" in diagram


def test_the_catalog_in_markdown_can_be_committed_and_checked(bank):
    written = eskit("catalog", "--markdown", cwd=bank)
    (bank / "catalog.md").write_text(written.out)

    same = eskit("catalog", "--check", "catalog.md", cwd=bank)
    edit(bank, "// Adds money to an open account.", "// Adds money | to an account.")
    changed = eskit("catalog", "--check", "catalog.md", "--json", cwd=bank)
    missing = eskit("catalog", "--check", "gone.md", cwd=bank)

    assert "command2 --> event2" in written.out
    assert (same.code, changed.code, missing.code) == (0, 3, 3)
    assert (changed.json["status"], changed.json["data"]["up_to_date"]) == ("failed", False)
    assert r"Adds money \| to an account." in eskit("catalog", "--markdown", cwd=bank).out


# --- new ---


def test_a_grown_proto_shows_its_missing_methods(bank):
    edit(
        bank,
        "  // Closes an account",
        "  rpc Freeze(DepositCommand) returns (DepositResponse);\n  // Closes an account",
    )

    shown = eskit("new", "aggregate", PROTO, cwd=bank)
    told = eskit("new", "aggregate", PROTO, "--json", cwd=bank)

    assert shown.code == 0
    assert "    def freeze(self, command: pb.DepositCommand)" in shown.out
    [missing] = told.json["data"]["missing"]
    assert (missing["file"], missing["methods"]) == ("bank/domain/account.py", ["freeze"])


def test_an_aggregate_starts_from_its_name(bank):
    made = eskit("new", "aggregate", "Invoice", "--field", "owner:string", cwd=bank)
    misused = eskit("new", "aggregate", PROTO, "--field", "owner:string", cwd=bank)

    assert made.code == 0
    assert "eskit new aggregate proto/invoice/v1/invoice.proto" in made.out
    assert (bank / "proto/invoice/v1/invoice.proto").is_file()
    assert misused.code == 2


def test_a_projection_is_scaffolded_for_its_events(bank):
    made = eskit("new", "projection", "bills", "--on", "MoneyDeposited", "--json", cwd=bank)
    unknown = eskit("new", "projection", "more", "--on", "MoneyDeposit", cwd=bank)

    assert "bank/projections/bills.py" in json.dumps(made.json["data"]["files"])
    assert (unknown.code, "Did you mean" in unknown.err) == (1, True)


def test_the_list_says_how_many_events_are_stored_and_which_are_declared_no_more(bank):
    edit(bank, "message MoneyWithdrawnEvent {", "message MoneyTakenEvent {")

    told = eskit("schema", "list", "--json", cwd=bank)
    shown = eskit("schema", "list", cwd=bank)

    events = {event["event_type"]: event for event in told.json["data"][0]["events"]}
    assert events["account.v1.AccountOpenedEvent"]["stored"] == 2
    assert events["account.v1.AccountOpenedEvent"]["schemas"] == 1
    assert events["account.v1.MoneyTakenEvent"]["stored"] == 0
    assert [d["code"] for d in told.json["diagnostics"]] == ["EVENT_TYPE_NOT_DECLARED"]
    assert re.search(r"account\.v1\.AccountOpenedEvent +2 stored$", shown.out, re.MULTILINE)
    assert "1 event of account.v1.MoneyWithdrawnEvent, which no proto declares" in shown.err
