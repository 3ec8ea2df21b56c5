"""A store of real events through every kind of change to its schema, as a user makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import DEPOSIT, eskit, move

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
