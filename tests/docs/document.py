"""Read a Markdown document as a list of steps, and run them.

Fences that count:

``console``          lines after ``$ `` are commands, what follows is what they print. In it ``…``
                     stands for anything within a line, and a line ``…`` alone for any lines.
                     How many blanks stand between words does not matter.
                     ``exit N`` as the last line is the exit code, where it is not 0. A command
                     that ends in ``&`` goes on in the background until the document ends.
``LANGUAGE file=P``  the block is the content of file P.
``python``           a snippet that must run.

Everything runs in one folder, one step after another. ``sh`` blocks are for the reader's machine.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>[a-z]+)(?: file=(?P<file>\S+))?\s*$")
_EXIT = re.compile(r"^exit (\d+)$")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class DocumentFailed(AssertionError):
    """A document says something that is not so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do: a command with its output, a file to write, or a snippet to run."""

    line: int
    kind: str
    text: str
    path: str = ""
    output: tuple[str, ...] = ()
    exit_code: int = 0


def read_steps(text: str) -> list[Step]:
    """The steps of a document, in order."""
    steps: list[Step] = []
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if not (fence := _FENCE.match(line)):
            continue
        body = []
        for _, inner in lines:
            if inner.startswith("```"):
                break
            body.append(inner)
        if fence["file"]:
            content = "\n".join(body) + "\n"
            steps.append(Step(line=number, kind="file", text=content, path=fence["file"]))
        elif fence["language"] == "console":
            steps += _read_session(body, number)
        elif fence["language"] == "python":
            steps.append(Step(line=number, kind="python", text="\n".join(body)))
    return steps


def _read_session(body: list[str], first: int) -> list[Step]:
    steps: list[Step] = []
    at, command, output = first, "", []

    def finish() -> None:
        if not command:
            return
        code = 0
        while output and not output[-1]:
            output.pop()
        if output and (match := _EXIT.match(output[-1])):
            code = int(match[1])
            output.pop()
        steps.append(
            Step(line=at, kind="command", text=command, output=tuple(output), exit_code=code)
        )

    for offset, line in enumerate(body, start=1):
        if line.startswith("$ "):
            finish()
            at, command, output = first + offset, line[2:], []
        elif command.endswith("\\") and not output:
            command = f"{command[:-1].rstrip()} {line.strip()}"
        else:
            output.append(line.rstrip())
    finish()
    return steps


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Whether what was printed is what the document shows."""
    text = _ESCAPES.sub("", printed).strip("\n")
    lines = [_squeeze(line) for line in text.splitlines()]
    pattern = _pattern([_squeeze(line) for line in expected])
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)))


def _squeeze(line: str) -> str:
    """Blanks in a row are one: how wide a column is depends on what else is in it."""
    return re.sub(r" +", " ", line.rstrip())


def _pattern(expected: Sequence[str]) -> str:
    parts = []
    for line in expected:
        if line.strip() in {"…", "..."}:
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(part) for part in line.split("…")) + r"\n")
    return "".join(parts)


def run_document(path: Path, folder: Path, *, environment: Mapping[str, str] | None = None) -> int:
    """Run a document in a folder and return the number of steps; raises DocumentFailed."""
    steps = read_steps(path.read_text(encoding="utf-8"))
    with ExitStack() as background:
        runner = _Runner(path, folder, {**os.environ, **_TERMINAL, **(environment or {})})
        background.callback(runner.stop_background)
        for step in steps:
            runner.run(step)
    return len(steps)


_TERMINAL = {"COLUMNS": "80", "LINES": "40", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


class _Runner:
    def __init__(self, document: Path, folder: Path, environment: dict[str, str]) -> None:
        self._document = document
        self._root = self._folder = folder
        self._environment = environment
        self._background: list[tuple[Step, subprocess.Popen[bytes]]] = []

    def run(self, step: Step) -> None:
        if step.kind == "file":
            path = self._folder / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
        elif step.kind == "python":
            self._compare(step, self._execute(["python", "-c", step.text]), any_output=True)
        elif step.text.startswith("cd "):
            self._folder = (self._folder / step.text[3:].strip()).resolve()
        elif step.text.endswith("&"):
            self._start(step)
        else:
            self._compare(step, self._execute(["bash", "-c", step.text]))

    def _execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    def _compare(
        self, step: Step, result: subprocess.CompletedProcess[str], *, any_output: bool = False
    ) -> None:
        if result.returncode != step.exit_code:
            self._fail(step, f"exit {result.returncode} instead of {step.exit_code}", result.stdout)
        if not any_output and not matches(step.output, result.stdout):
            self._fail(step, "printed something else", result.stdout)

    def _start(self, step: Step) -> None:
        log = self._root / f"background-{step.line}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                shlex.split(step.text[:-1]),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self._background.append((step, process))
        limit = time.monotonic() + 30
        while not matches(step.output, log.read_text(encoding="utf-8")):
            if time.monotonic() > limit or process.poll() is not None:
                self._fail(step, "never printed that", log.read_text(encoding="utf-8"))
            time.sleep(0.05)

    def stop_background(self) -> None:
        for step, process in reversed(self._background):
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self._fail(step, "did not stop on Ctrl-C", "")
            if code:
                self._fail(step, f"exit {code} on Ctrl-C", "")

    def _fail(self, step: Step, reason: str, printed: str) -> None:
        expected = "\n".join(step.output)
        raise DocumentFailed(
            f"{self._document.name}:{step.line}: {reason}\n$ {step.text}\n"
            f"--- the document says\n{expected}\n--- it printed\n{printed}"
        )
