"""Signals that ask a command to stop."""

import re
import signal
import threading

import pytest

from eskit.cli.interrupts import stop_on_signal
from tests.support.running import DEPOSIT, eskit, interrupt, read_until

GET = "account.v1.AccountQueryService/GetAccount"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_also_while_the_lock_of_the_event_is_held(number, monkeypatch):
    class HeldEvent(threading.Event):
        """As one is while somebody is about to wait for it: to set it takes its lock."""

        held = threading.Lock()

        def set(self):
            with self.held:
                super().set()

    given_up = threading.Timer(5, HeldEvent.held.release)
    monkeypatch.setattr(threading, "Event", HeldEvent)
    with stop_on_signal() as stop:
        HeldEvent.held.acquire()
        given_up.start()

        signal.raise_signal(number)

        assert given_up.is_alive()
        HeldEvent.held.release()
        assert stop.wait(20)
    given_up.cancel()


def test_the_second_signal_interrupts():
    with stop_on_signal():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_the_command_line_loads_leaves_no_traceback(launch, tmp_path):
    (tmp_path / "typer.py").write_text(
        "import sys, time; print('loading', file=sys.stderr, flush=True); time.sleep(60)"
    )
    process = launch("stream", "list", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    read_until(process, "loading", stream="stderr")

    ended = interrupt(process)

    assert ended.code in {-signal.SIGINT, 130}
    assert (ended.out, ended.err) == ("", "")


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_an_option_of_the_shells_completion_ends_well(tmp_path, option):
    ran = eskit(option, "bash", cwd=tmp_path, env={"HOME": str(tmp_path), "SHELL": "/bin/bash"})

    assert (ran.code, ran.err) == (0, "")
    assert "completion" in ran.out


def test_a_call_is_left_when_its_time_is_over_although_its_handler_hangs(bank):
    module = bank / "bank" / "domain" / "account.py"
    hang = '"""Add an amount above 0."""\n        import time\n\n        time.sleep(600)'
    module.write_text(module.read_text().replace('"""Add an amount above 0."""', hang, 1))
    data = '{"account_id": "acc-001", "amount": "1"}'

    ran = eskit("call", DEPOSIT, "--timeout", "0.5", "--data", data, cwd=bank)

    assert ran.code == 1
    assert "did not answer within 0.5 s" in ran.err
    assert "send it again with the same command id" in ran.err


def test_who_names_the_wrong_version_is_told_the_right_one(bank):
    data = '{"account_id": "acc-001", "amount": "1"}'

    ran = eskit("call", DEPOSIT, "--expected-version", "9", "--data", data, cwd=bank)

    assert ran.code == 1
    shown = " ".join(ran.err.split())
    assert "eskit stream read Account-acc-001" in shown
    assert re.search(r"again with --expected-version \d+, or without", shown)


def test_serve_ends_on_ctrl_c_while_handlers_hang(launch, bank):
    for file, docstring in (("domain/account", "Add an amount above 0."), ("queries", "One acc")):
        module = bank / "bank" / f"{file}.py"
        text, begun = module.read_text(), f'"""{docstring}'
        line = next(line for line in text.splitlines() if begun in line)
        module.write_text(text.replace(line, f"{line}\n        import time; time.sleep(600)", 1))
    process = launch("serve", cwd=bank)
    read_until(process, "stop with Ctrl-C")
    data = '{"account_id": "acc-001", "amount": "1"}'
    nats = ("--via", "nats", "--timeout", "60")
    callers = [
        launch("call", DEPOSIT, *nats, "--data", data, cwd=bank),
        launch("call", GET, *nats, "--data", '{"account_id": "acc-001"}', cwd=bank),
    ]
    read_until(process, f"{DEPOSIT} has been running", stream="stderr")

    ended = interrupt(process)
    told = [caller.communicate(timeout=30)[1] for caller in callers]

    assert ended.code == 0
    assert "services          stopped" in ended.out
    assert f"Stopped while 1 of {DEPOSIT} were at work" in ended.err
    assert all("before its service stopped" in text for text in told), told
