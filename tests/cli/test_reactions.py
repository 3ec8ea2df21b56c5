"""Reactions from the command line: where they stand, pausing and resetting them, and upgrading."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from eskit.cli.commands.reaction import format_statuses
from eskit.cli.terminal.text import plain
from eskit.messaging.follower_status import Attempt, FollowerStatus
from eskit.processes.holding import Holder
from tests.support.running import eskit, interrupt, open_account, read_until

BEFORE = Path(__file__).parents[1] / "fixtures" / "bank_with_places_in_nats.tar.gz"
"""A bank made and served by eskit at 2ef4afd: welcome has come to 4, with 3 set aside; then 5."""
ERRORS = "from eskit.errors import CommandRejected\n"
RENAMED = {
    "from eskit import CommandRejected, ": f"{ERRORS}from eskit import ",
    "from eskit import CommandRejected\n": ERRORS,
}
HEAD = 5


def change_reaction(bank: Path, old: str, new: str) -> None:
    module = bank / "bank" / "reactions.py"
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, new))


def statuses(bank: Path) -> dict[str, Any]:
    found = eskit("reaction", "status", "--json", cwd=bank)
    (status,) = found.json["data"]
    return {**status, "code": found.code}


def until_passed(bank: Path, position: int) -> dict[str, Any]:
    """The status once welcome has passed a position."""
    deadline = time.monotonic() + 40
    while (status := statuses(bank))["position"] != position:
        assert time.monotonic() < deadline, status
    return status


def serve(launch, bank: Path, *options: str):
    process = launch("serve", "--no-services", "--no-relay", *options, cwd=bank)
    read_until(process, "stop with Ctrl-C")
    return process


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A project of before, its store migrated."""
    with tarfile.open(BEFORE) as archive:
        archive.extractall(tmp_path, filter="data")
    bank = tmp_path / "bank"
    for module in bank.rglob("*.py"):  # by the names that eskit has today
        text = module.read_text()
        for line, now in RENAMED.items():
            text = text.replace(line, now)
        module.write_text(text)
    assert eskit("gen", cwd=bank).code == 0
    migrated = eskit("store", "migrate", cwd=bank)
    assert migrated.code == 0, migrated.err
    return bank


def events_of(bank: Path, account: str) -> list[str]:
    read = eskit("stream", "read", f"Account-{account}", "--json", cwd=bank)
    return [event["event_type"].rpartition(".")[2] for event in read.records]


@pytest.mark.promise("reactions-keep-their-position")
def test_a_project_of_before_goes_on_where_its_reactions_were(earlier, launch):
    """From the bucket in NATS, once: afterwards its folder of data and caches may be lost."""
    before = statuses(earlier)
    serving = serve(launch, earlier)
    after = until_passed(earlier, HEAD + 1)
    letters = eskit("deadletter", "list", "--json", cwd=earlier).json["data"]
    ended = interrupt(serving)
    shutil.rmtree(earlier / ".eskit")
    assert eskit("gen", cwd=earlier).code == 0
    again = serve(launch, earlier)
    assert open_account(earlier, "acc-005", "Eve", "500000.00").code == 0
    until_passed(earlier, HEAD + 3)
    interrupt(again)

    assert (before["state"], before["code"]) == ("failed", 1)
    assert "taken over from NATS" in str(before["error"])
    assert (after["state"], after["set_aside"], after["lag"]) == ("failed", 1, 0)
    assert [(each["subscription"], each["position"]) for each in letters] == [("welcome", 3)]
    assert "no welcome for Mallory" in letters[0]["error"]
    assert ended.code == 0
    assert events_of(earlier, "acc-001") == ["AccountOpenedEvent", "MoneyDepositedEvent"]
    assert events_of(earlier, "acc-003") == ["AccountOpenedEvent"]
    assert events_of(earlier, "acc-004") == ["AccountOpenedEvent", "MoneyDepositedEvent"]
    assert events_of(earlier, "acc-005") == ["AccountOpenedEvent", "MoneyDepositedEvent"]


def test_a_reaction_whose_place_is_lost_asks_and_the_rest_runs(earlier, launch):
    """Its commands of before may be forgotten: it must not begin at the first event by itself."""
    shutil.rmtree(earlier / ".eskit")
    assert eskit("gen", cwd=earlier).code == 0
    forget_commands(earlier)
    serving = launch("serve", "--no-relay", "--health", "0", cwd=earlier)
    told = read_until(serving, "eskit reaction reset welcome", stream="stderr")
    ran = eskit("project", "status", "--json", cwd=earlier)
    refused = eskit("reaction", "reset", "welcome", "--after", "0", "--yes", cwd=earlier)
    dry = eskit("reaction", "reset", "welcome", "--after", "4", "--dry-run", cwd=earlier)
    unconfirmed = eskit("reaction", "reset", "welcome", "--after", "4", cwd=earlier)
    done = eskit("reaction", "reset", "welcome", "--after", "4", "--yes", "--json", cwd=earlier)
    until_passed(earlier, HEAD + 1)
    interrupt(serving)

    assert "--after POSITION|now" in told[-1]
    assert all(each["state"] == "running" for each in ran.json["data"])
    assert refused.code == 2
    assert "1 command of welcome would be carried out twice" in refused.err
    assert "--after 0 --again" in refused.err
    assert "welcome from an unknown place to 4: 1 event reacted to again" in dry.out
    assert "A dry run: nothing was changed" in dry.out
    assert unconfirmed.code == 2
    assert done.json["data"]["changed"] is True
    assert events_of(earlier, "acc-001") == ["AccountOpenedEvent", "MoneyDepositedEvent"]
    assert events_of(earlier, "acc-004") == ["AccountOpenedEvent", "MoneyDepositedEvent"]


def test_a_project_made_anew_needs_neither_nats_nor_an_answer(bank, launch):
    serving = serve(launch, bank, "--no-projections")
    assert open_account(bank, "rich", "Eve", "500000.00").code == 0
    well = until_passed(bank, 6)
    shown = eskit("reaction", "list", cwd=bank)
    interrupt(serving)

    assert (well["state"], well["lag"], well["code"]) == ("running", 0, 0)
    assert shown.out.splitlines()[1].startswith("welcome  running")
    assert not (bank / ".eskit" / "nats").exists()
    assert events_of(bank, "rich") == ["AccountOpenedEvent", "MoneyDepositedEvent"]


def test_what_a_reaction_waits_after_is_shown_in_full_where_it_is_named():
    status = FollowerStatus(
        name="welcome",
        state="running",
        position=3,
        head=4,
        lag=1,
        error="",
        trouble="4: ValueError: the rates of yesterday are missing",
        updated_at=None,
        oldest_seconds=1.0,
        in_flight=(),
        waiting=(Attempt(position=4, attempts=2, since=None),),
        set_aside=0,
        skipped=0,
        pause="",
        needed=0,
        holder=Holder(pid=1),
    )

    lines = list(format_statuses([status], detailed=True))

    assert [plain(line) for line in lines[-2:]] == [
        "  4  waits, tried 2 times",
        "last error  4: ValueError: the rates of yesterday are missing",
    ]


@pytest.mark.promise("failures-are-visible")
def test_a_failing_reaction_is_red_wherever_it_is_looked_at(bank, launch):
    change_reaction(bank, "if Decimal(", 'raise KeyError("eur")\n    if Decimal(')
    change_reaction(bank, 'start="first"', 'start="first", max_deliveries=1')
    serving = serve(launch, bank, "--no-projections", "--health", "0")
    failed = until_passed(bank, 4)
    named = eskit("reaction", "status", "welcome", cwd=bank)
    interrupt(serving)

    assert (failed["state"], failed["code"], failed["set_aside"]) == ("failed", 1, 2)
    assert "2 dead letters, the first at 1" in named.out
    assert "eskit deadletter list welcome" in named.out
    assert named.code == 1


def test_reactions_that_nobody_runs_are_a_warning(bank):
    shown = eskit("reaction", "status", cwd=bank)
    as_json = eskit("reaction", "list", "--json", cwd=bank).json

    assert shown.code == 0
    assert "no process runs it" in shown.out
    assert "welcome: 2 events behind, and no process runs it" in shown.err
    assert "eskit serve" in shown.err
    assert [each["code"] for each in as_json["diagnostics"]] == ["REACTION_NOT_RUN"]


def test_a_paused_reaction_holds_back_the_commands_that_it_needs(bank, launch):
    paused = eskit("reaction", "pause", "welcome", "--reason", "wrong amount", cwd=bank)
    twice = eskit("reaction", "pause", "welcome", "--reason", "too", cwd=bank)
    serving = serve(launch, bank, "--no-projections")
    assert open_account(bank, "rich", "Eve", "500000.00").code == 0
    status = statuses(bank)
    resumed = eskit("reaction", "resume", "welcome", "--reason", "mended", cwd=bank)
    until_passed(bank, 6)
    interrupt(serving)
    make_old(bank)
    again = eskit("reaction", "reset", "welcome", "--after", "0", "--yes", cwd=bank)
    held = statuses(bank)
    pruned = eskit("store", "prune", cwd=bank)
    gone = eskit("reaction", "resume", "welcome", "--reason", "mended", cwd=bank)

    assert paused.out == "welcome  paused at its start\n"
    assert "paused already: wrong amount" in twice.err
    assert (status["state"], status["pause"], status["code"]) == ("paused", "wrong amount", 0)
    assert "resumed at 0, 3 events behind" in resumed.out
    assert "3 events reacted to again" in again.out
    assert held["needed_commands"] == 1
    assert "welcome  still needs 1 command of that age" in pruned.out
    assert (gone.code, "is not paused" in gone.err) == (1, True)


def make_old(bank: Path) -> None:
    """Let the time to live of every command be over: one was sent on each day since."""
    day = 24 * 3600 * 1_000_000
    with closing(sqlite3.connect(bank / "bank.db")) as database, database:
        database.execute("UPDATE commands SET recorded_at = recorded_at - ?", (60 * day,))
        found = database.execute("SELECT * FROM commands LIMIT 1")
        names = [column for column, *_ in found.description]
        row = dict(zip(names, found.fetchone(), strict=True))
        places = ", ".join(f":{name}" for name in names)
        database.executemany(
            f"INSERT INTO commands VALUES ({places})",  # noqa: S608 - the columns of the table
            [
                {**row, "command_id": f"later {n}", "recorded_at": row["recorded_at"] + n * day}
                for n in range(1, 60)
            ],
        )
    database.close()


def forget_commands(bank: Path) -> None:
    """Let no command be remembered."""
    with closing(sqlite3.connect(bank / "bank.db")) as database, database:
        database.execute("DELETE FROM commands")
    database.close()


def until_hung(bank: Path, process) -> dict[str, Any]:
    """The status once that process handles an event."""
    deadline = time.monotonic() + 40
    while True:
        status = statuses(bank)
        if status["holder"] == process.pid and status["in_flight"]:
            return status
        assert time.monotonic() < deadline, status


def test_ctrl_c_ends_serve_while_a_reaction_hangs_and_a_second_one_at_once(bank, launch):
    change_reaction(bank, "if Decimal(", "import time; time.sleep(3600)\n    if Decimal(")
    patient = serve(launch, bank, "--no-projections")
    hung = until_hung(bank, patient)
    first = interrupt(patient)
    quiet = "--no-services", "--no-relay", "--no-projections"
    impatient = launch("serve", *quiet, "--json", cwd=bank)
    until_hung(bank, impatient)
    impatient.send_signal(signal.SIGINT)
    read_until(impatient, '"stopping"')
    second = interrupt(impatient)

    assert hung["in_flight"][0]["position"] == 1
    assert first.code == 0
    assert "still being handled" in first.err
    assert second.code == 130


def test_what_is_not_there_is_named(bank):
    unknown = eskit("reaction", "status", "welcom", cwd=bank)
    wrong = eskit("reaction", "reset", "welcome", "--after", "yesterday", cwd=bank)
    beyond = eskit("reaction", "reset", "welcome", "--after", "99", "--yes", cwd=bank)

    assert unknown.code == 1
    assert "Did you mean welcome?" in unknown.err
    assert wrong.code == 2
    assert "The log ends at 4" in beyond.err
