"""A store of real events through every kind of change to its schema, as a user makes them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.running import DEPOSIT, eskit, move

DEPOSITED = "account.v1.MoneyDepositedEvent"
PROTO = Path("proto/account/v1/account.proto")
RULES = Path("bank/domain/account.py")
UPCASTERS = Path("bank/domain/upcasters.py")
SUCCESSOR = """\
message MoneyAddedEvent {
  option (eventsourcing.event) = {aggregate_name: "Account"};
  string account_id = 1;
  string amount = 2;
  string new_balance = 3;
  int64 timestamp = 4;
  string reason = 5;
}
"""
UPCASTER = """
@upcast(pb.MoneyDepositedEvent, to=pb.MoneyAddedEvent)
def deposited_without_reason(old: pb.MoneyDepositedEvent) -> pb.MoneyAddedEvent:
    return pb.MoneyAddedEvent(
        account_id=old.account_id,
        amount=old.amount,
        new_balance=old.new_balance,
        timestamp=old.timestamp,
        reason="none was asked for",
    )


UPCASTERS = [deposited_without_reason, """


class Bank:
    """A bank whose deposits change: by its proto, and by the code that goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def edit(self, file: Path, old: str, new: str) -> None:
        """Replace a text in a file; in the proto, in the declaration of deposits."""
        text = (self.folder / file).read_text()
        start = text.index("message MoneyDepositedEvent") if file == PROTO else 0
        assert old in text[start:]
        (self.folder / file).write_text(text[:start] + text[start:].replace(old, new, 1))

    def declare(self, old: str, new: str) -> None:
        self.edit(PROTO, old, new)

    def remove(self) -> None:
        """Take the declaration out of the proto."""
        text = (self.folder / PROTO).read_text()
        before, _, declared = text.partition("message MoneyDepositedEvent")
        (self.folder / PROTO).write_text(before + declared.partition("\n}\n")[2])

    def deposit(self) -> None:
        """Generate the code of the proto as it is, and store an event with it."""
        generated = eskit("gen", cwd=self.folder)
        assert generated.code == 0, generated.err
        done = move(self.folder, DEPOSIT, "acc-001", "1.00")
        assert done.code == 0, done.err

    def check(self, *options: str) -> tuple[int, str, list[tuple[str, str, int]]]:
        """Exit code and verdict; of each finding about deposits severity, rule, stored events."""
        ran = eskit("schema", "check", *options, "--json", cwd=self.folder)
        told = [
            (found["severity"], found["rule"], found["events"])
            for found in ran.json["data"]["findings"]
            if found["event_type"] == DEPOSITED
        ]
        return ran.code, ran.json["data"]["verdict"], told


@pytest.fixture
def changing(bank) -> Bank:
    """The bank with one stored deposit."""
    return Bank(bank)


def test_fields_are_added_renamed_retyped_removed_and_their_numbers_used_again(changing):
    balance = "new_balance=str(self._balance() + amount),"
    assert changing.check("--decode") == (0, "FULL", [])

    changing.declare("int64 timestamp = 4;", "int64 timestamp = 4;\n  string note = 5;")
    assert changing.check("--decode") == (0, "FULL", [])
    changing.edit(RULES, balance, f'{balance} note="gift",')
    changing.deposit()

    changing.declare("string note = 5;", "string remark = 5;")
    assert changing.check() == (0, "FULL", [("warning", "FIELD_RENAMED", 1)])
    changing.declare("string remark = 5;", "string note = 5;")

    changing.declare("string amount = 2;", "int64 amount = 2;")
    assert changing.check() == (3, "BREAKING", [("breaking", "FIELD_TYPE_CHANGED", 2)])
    changing.declare("int64 amount = 2;", "string amount = 2;")

    changing.declare("  string note = 5;\n", "")
    assert changing.check("--decode") == (
        *(3, "FORWARD"),
        [("breaking", "FIELD_REMOVED", 1), ("warning", "FIELDS_NOT_READ", 1)],
    )
    changing.declare("int64 timestamp = 4;", "int64 timestamp = 4;\n  reserved 5;")
    assert changing.check("--decode") == (0, "FULL", [("warning", "FIELD_REMOVED", 1)])
    changing.edit(RULES, ' note="gift",', "")
    changing.deposit()

    # The newest stored schema has no such field, but an older one has.
    changing.declare("reserved 5;", "int64 fee = 5;")
    assert changing.check() == (3, "BREAKING", [("breaking", "FIELD_NUMBER_REUSED", 1)])


def test_a_type_that_is_removed_or_renamed_breaks_all_its_events(changing):
    changing.deposit()
    declared = (changing.folder / PROTO).read_text()

    changing.declare("message MoneyDepositedEvent", "message MoneyPaidInEvent")
    renamed = changing.check()
    (changing.folder / PROTO).write_text(declared)
    changing.remove()
    removed = changing.check()

    assert renamed == (3, "BREAKING", [("breaking", "EVENT_TYPE_RENAMED", 2)])
    assert removed == (3, "FORWARD", [("breaking", "EVENT_TYPE_REMOVED", 2)])


def test_an_event_with_a_successor_breaks_until_an_upcaster_reads_it(changing):
    changing.declare("  option (event", "  option deprecated = true;\n  option (event")
    changing.declare("message MoneyWithdrawnEvent", f"{SUCCESSOR}\nmessage MoneyWithdrawnEvent")
    for file in (changing.folder / "bank").rglob("*.py"):
        if "gen" not in file.parts:
            text = file.read_text().replace("MoneyDeposited", "MoneyAdded")
            file.write_text(text.replace("on_money_deposited", "on_money_added"))
    assert eskit("gen", cwd=changing.folder).code == 0

    without = changing.check("--decode")
    refused = eskit("replay", "Account-acc-001", cwd=changing.folder)
    changing.edit(UPCASTERS, "\nUPCASTERS = [", UPCASTER)
    with_it = changing.check("--decode")
    replayed = eskit("replay", "Account-acc-001", cwd=changing.folder)
    changing.deposit()

    assert without == (3, "FORWARD", [("breaking", "NOT_UPCAST", 1)])
    assert (refused.code, "has no upcaster" in refused.err) == (1, True)
    assert with_it == changing.check("--decode") == (0, "FULL", [])
    assert replayed.code == 0
    assert '"1000.00" → "1250.50"' in replayed.out


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("    raise KeyError(old.amount)\n", "its upcaster raises KeyError: '250.50'"),
        ("    return None\n", "gave None"),
        ("    return pb.MoneyWithdrawnEvent()\n", "gave account.v1.MoneyWithdrawnEvent"),
    ],
    ids=["raises", "returns nothing", "returns another event"],
)
def test_an_upcaster_that_fails_on_a_stored_event_is_found_by_reading_them(changing, body, told):
    upcaster = f"""
@upcast(pb.MoneyDepositedEvent, to=pb.MoneyDepositedEvent)
def mended(old: pb.MoneyDepositedEvent) -> pb.MoneyDepositedEvent:
{body}

UPCASTERS = [mended, """
    changing.edit(UPCASTERS, "\nUPCASTERS = [", upcaster)

    ran = eskit("schema", "check", "--decode", "--json", cwd=changing.folder)

    assert (ran.code, ran.json["data"]["verdict"]) == (3, "FORWARD")
    (found,) = [f for f in ran.json["data"]["findings"] if f["rule"] == "UPCASTER_FAILED"]
    assert told in found["message"]
    assert found["events"] == 1


def test_a_finding_that_was_accepted_warns_no_more_and_another_one_does(changing):
    changing.declare("string amount = 2;", "string total = 2;")
    (finding,) = [
        found
        for found in eskit("schema", "check", "--json", cwd=changing.folder).json["data"][
            "findings"
        ]
        if found["event_type"] == DEPOSITED
    ]
    changing.edit(
        Path("pyproject.toml"), "\napp = ", f'\nschema_accept = ["{finding["key"]}", "old"]\napp = '
    )

    accepted = eskit("schema", "check", "--json", cwd=changing.folder).json
    changing.declare("string total = 2;", "string sum = 2;")
    again = changing.check()

    assert [f["rule"] for f in accepted["data"]["accepted"]] == ["FIELD_RENAMED"]
    assert DEPOSITED not in {f["event_type"] for f in accepted["data"]["findings"]}
    assert "ACCEPTED_CHANGE_UNUSED" in {d["code"] for d in accepted["diagnostics"]}
    assert again == (0, "FULL", [("warning", "FIELD_RENAMED", 1)])


def test_events_without_a_recorded_schema_are_not_called_compatible(changing):
    with closing(sqlite3.connect(changing.folder / "bank.db")) as store, store:
        store.execute("DELETE FROM event_schemas WHERE event_type = ?", (DEPOSITED,))
    changing.declare("string amount = 2;", "int64 amount = 2;")

    compared = changing.check()
    shown = eskit("schema", "check", cwd=changing.folder)
    decoded = changing.check("--decode")

    assert compared == (3, "UNKNOWN", [("warning", "SCHEMA_NOT_RECORDED", 1)])
    assert "UNKNOWN   account.v1.MoneyDepositedEvent" in shown.out
    assert decoded == (0, "FULL", [("warning", "FIELDS_NOT_READ", 1)])


def test_services_are_compared_with_an_earlier_version_of_the_protos(changing):
    shutil.copytree(changing.folder / "proto", changing.folder / "before")
    text = (changing.folder / PROTO).read_text()
    command = text.index("message DepositCommand")
    changed = text[command:].replace("string amount = ", "int64 amount = ", 1)
    (changing.folder / PROTO).write_text(text[:command] + changed)

    ran = eskit("schema", "check", "--against", "before", cwd=changing.folder)

    assert ran.code == 3
    assert "request of account.v1.AccountCommandService/Deposit" in ran.out
