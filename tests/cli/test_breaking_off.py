"""Ctrl-C on a terminal, and what it leaves of work that takes long."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eskit import ANY, NewEvent, open_store
from eskit.cli.interrupts import explain_interrupt
from eskit.errors import StoreUnavailable
from eskit.schema.response_pb2 import AppError
from tests.support.running import Terminal, eskit, interrupt

EVENTS = 60_000


@pytest.fixture(scope="module")
def long_log(tmp_path_factory) -> str:
    """A store that takes a while to copy."""
    url = f"sqlite:///{tmp_path_factory.mktemp('long') / 'log.db'}?synchronous=normal"
    text = AppError(message="x" * 400)
    with open_store(url) as store:
        for start in range(0, EVENTS, 5_000):
            events = [NewEvent(text) for _ in range(5_000)]
            store.append(f"Thing-{start}", events, expected_version=ANY)
    return url


def wait_for(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextmanager
def read_by_somebody(file: Path) -> Iterator[None]:
    """A reader for whom the file cannot be cleared of what was erased."""
    with closing(sqlite3.connect(file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        yield


def is_erased(bank: Path, stream: str) -> bool:
    ran = eskit("stream", "erase", stream, "--reason", "x", "--dry-run", cwd=bank)
    return "(0 events)" in ran.out


def has_begun(partial: Path) -> Callable[[], bool]:
    return lambda: partial.exists() and partial.stat().st_size > 0


def test_an_export_that_is_broken_off_is_kept_and_gone_on_with(launch, long_log, tmp_path):
    command = ("store", "export", "log.jsonl", "--store", long_log)
    process = launch(*command, cwd=tmp_path)
    wait_for(has_begun(tmp_path / "log.jsonl.partial"))

    ended = interrupt(process)
    again = eskit(*command, "--json", cwd=tmp_path)

    assert (ended.code, ended.out) == (130, "")
    assert ended.err == (
        "interrupted  log.jsonl.partial is kept: run the command again to resume\n"
    )
    assert again.json["data"]["events"] == EVENTS


def test_an_import_that_is_broken_off_is_kept_and_gone_on_with(launch, long_log, tmp_path):
    assert eskit("store", "export", "log.jsonl", "--store", long_log, cwd=tmp_path).code == 0
    command = ("store", "import", "log.jsonl", "--store", "sqlite:///copy.db")
    process = launch(*command, cwd=tmp_path)
    partial = tmp_path / "copy.db.partial"
    wait_for(has_begun(partial))

    ended = interrupt(process)
    again = eskit(*command, "--json", cwd=tmp_path)

    assert ended.code == 130
    assert ended.err == f"interrupted  {partial} is kept: run the command again to resume\n"
    assert again.json["data"]["events"] == EVENTS


@pytest.mark.promise("interrupted-commands-report")
def test_a_backup_that_is_broken_off_leaves_nothing(launch, long_log, tmp_path):
    process = launch("store", "backup", "log.db", "--store", long_log, cwd=tmp_path)
    wait_for(has_begun(tmp_path / "log.db.partial"))

    ended = interrupt(process)

    assert ended.code == 130
    assert ended.err == "interrupted  There is no log.db: begin again\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise("interrupted-commands-report")
def test_an_erasure_that_is_broken_off_says_what_is_erased(launch, bank):
    command = ("stream", "erase", "Account-acc-001", "--reason", "request 17", "--yes")
    with read_by_somebody(bank / "bank.db"):
        process = launch(*command, cwd=bank)
        wait_for(lambda: is_erased(bank, "Account-acc-001"))

        ended = interrupt(process)

    assert ended.code == 130
    assert ended.err == (
        "interrupted  Account-acc-001 erased\n"
        "             Erased content may remain in the file: "
        "run the command again to clear it\n"
    )
    assert eskit(*command, cwd=bank).code == 0


def test_what_is_left_may_be_unknown_but_interrupted_it_is():
    def left() -> str:
        raise StoreUnavailable("The store is away")

    with (
        pytest.raises(KeyboardInterrupt, match="cannot be found out: The store is away"),
        explain_interrupt(left),
    ):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "until", "says"),
    [
        (("tail",), "Account-acc-002", "4 events · last 4"),
        (("nats", "start"), "until Ctrl-C", "NATS stopped"),
        (("serve", "--no-relay"), "stop with Ctrl-C", "services          stopped"),
    ],
)
def test_what_is_said_after_ctrl_c_begins_on_a_line_of_its_own(launch, bank, command, until, says):
    terminal = Terminal(launch, *command, cwd=bank)
    terminal.read_until(until)

    terminal.press_ctrl_c()
    lines = terminal.read_until(says)

    assert "^C" in lines
    assert any(line.startswith(says) for line in lines)
    assert terminal.process.wait(30) == 0


def test_interrupted_stands_on_a_line_of_its_own(launch, bank):
    command = ("stream", "erase", "Account-acc-001", "--reason", "request 17", "--yes")
    with read_by_somebody(bank / "bank.db"):
        terminal = Terminal(launch, *command, cwd=bank)
        wait_for(lambda: is_erased(bank, "Account-acc-001"))

        terminal.press_ctrl_c()
        lines = terminal.read_until("interrupted")

    assert lines[:2] == ["^C", "interrupted  Account-acc-001 erased"]
    assert terminal.process.wait(30) == 130
