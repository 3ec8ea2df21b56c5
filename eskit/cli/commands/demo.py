"""``eskit demo``: all of it, in under a minute, with the real commands and their real output."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.service_runner import LABEL
from eskit.cli.session import session_of
from eskit.cli.terminal.output import Output
from eskit.cli.terminal.text import Line
from eskit.cli.terminal.wrapping import Hanging
from eskit.errors import EskitError, ProjectError

app = make_app()

_COMMANDS = "account.v1.AccountCommandService"
_QUERIES = "account.v1.AccountQueryService"
_PATIENCE = 20.0
_WIDTH = 78


@app.command(**examples("eskit demo", "eskit demo --keep bank"))
def demo(
    context: typer.Context,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the project in this new folder.")
    ] = None,
) -> None:
    """Build a bank, move money, replay an account, rebuild a projection, tail the events.

    The demo uses a temporary folder and its own NATS server, and removes both.
    """
    session = session_of(context)
    with project_folder(session.directory, keep) as folder:
        stage = Stage(folder=folder.parent, output=session.output)
        show(stage, folder)
    if session.output.as_json:
        session.output.result(stage.steps)
    elif keep is not None:
        session.output.show(["", f"The project is in {keep}"])


@contextmanager
def project_folder(directory: Path, keep: Path | None) -> Iterator[Path]:
    """Where the project goes: a new folder to keep, or one that is removed."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="eskit-demo-") as scratch:
            yield Path(scratch).resolve() / "bank"
        return
    target = (directory / keep).resolve()
    if target.exists():
        raise ProjectError(
            f"{keep} exists already", code="TARGET_EXISTS", hint="Choose another folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    yield target


@dataclass(slots=True)
class Stage:
    """Runs commands as a user would, showing each and what it prints."""

    folder: Path
    output: Output
    steps: list[dict[str, object]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Tell what comes next."""
        if not self.output.as_json:
            self.output.show(["", [(f"# {text}", "dim")]])

    def run(self, *args: str) -> None:
        """Run one command and show it; DEMO_FAILED when it fails."""
        self._announce(args)
        captured = subprocess.PIPE if self.output.as_json else None
        ran = subprocess.run(
            [sys.executable, "-m", "eskit", *args],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=captured,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise EskitError(
                f"{typed(args)} ended with exit code {ran.returncode}",
                code="DEMO_FAILED",
                hint="Look at its output above; eskit demo --keep DIR keeps the project.",
            )
        self.steps.append({"command": typed(args), "output": ran.stdout or ""})

    @contextmanager
    def running(self, *args: str, until: str) -> Iterator[None]:
        """Have a command run meanwhile; it is up when it has printed a line with `until`.

        It ends with the block, and with this process if that is killed.
        """
        from eskit.processes.child import tied_to_parent

        self._announce(args, after=" &")
        process = subprocess.Popen(
            tied_to_parent([sys.executable, "-m", "eskit", *args]),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            self._wait_for_line(process, until)
            yield
        finally:
            try:
                process.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def wait_until_published(self, events: int) -> None:
        """Wait until the relay has published everything."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            ran = subprocess.run(
                [sys.executable, "-m", "eskit", "checkpoint", "show", "relay", "--json"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if ran.returncode == 0 and json.loads(ran.stdout)["data"]["position"] >= events:
                return
            time.sleep(0.1)
        raise EskitError("The relay has not published the events in time", code="DEMO_FAILED")

    def _wait_for_line(self, process: subprocess.Popen[str], until: str) -> None:
        for line in process.stdout or ():
            if not self.output.as_json:
                self.output.show([Hanging([line.rstrip("\n")], indent=LABEL + 2)])
            if until in line:
                return
        raise EskitError(
            f"eskit ended with exit code {process.wait()} before it was up", code="DEMO_FAILED"
        )

    def _announce(self, args: Sequence[str], *, after: str = "") -> None:
        if not self.output.as_json:
            self.output.show(["", *format_command(f"{typed(args)}{after}")])


def show(stage: Stage, project: Path) -> None:
    """The demonstration, step by step."""
    stage.say("A bank, from a template. Its proto declares commands, events and state.")
    stage.run("new", "project", project.name, "--template", "bank")
    stage.folder = project
    stage.run("gen")

    stage.say("Commands run in this process: load, decide, append.")
    alice = _json(account_id="acc-001", owner_name="Alice", initial_balance="1000.00")
    stage.run("call", f"{_COMMANDS}/OpenAccount", "--data", alice)
    bob = _json(account_id="acc-002", owner_name="Bob", initial_balance="20.00")
    stage.run("call", f"{_COMMANDS}/OpenAccount", "--data", bob)
    deposit = _json(account_id="acc-001", amount="250.50")
    stage.run("call", f"{_COMMANDS}/Deposit", "--data", deposit)
    stage.run("stream", "list")

    stage.say("What happened to one account, and what each event changed.")
    stage.run("replay", "Account-acc-001")

    stage.say("Read models: handle what is new, then build one again from the whole log.")
    stage.run("project", "run", "--once")
    stage.run("project", "rebuild", "account-balance")
    stage.run("project", "status")

    stage.say("The service: a NATS server of its own, request/reply, and published events.")
    with stage.running("serve", until="Ctrl-C"):
        withdraw = _json(account_id="acc-001", amount="50.25")
        stage.run("call", f"{_COMMANDS}/Withdraw", "--via", "nats", "--data", withdraw)
        balance = _json(account_id="acc-001")
        stage.run("call", f"{_QUERIES}/GetAccountBalance", "--via", "nats", "--data", balance)
        stage.wait_until_published(4)
        stage.run("tail", "--from", "first", "--no-follow", "--source", "nats")


def format_command(text: str) -> Iterator[Line]:
    """The command as it is typed, continued on a second line where it is long."""
    head, option, data = text.partition(" --data ")
    if len(text) <= _WIDTH or not option:
        yield [("$ ", "dim"), (text, "typed")]
        return
    yield [("$ ", "dim"), (f"{head} \\", "typed")]
    yield [(f"    --data {data}", "typed")]


def typed(args: Sequence[str]) -> str:
    """The command line for a shell."""
    return shlex.join(["eskit", *args])


def _json(**fields: str) -> str:
    return json.dumps(fields, separators=(",", ":"))
