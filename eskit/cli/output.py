"""Where a command's result goes: data to stdout, everything else to stderr.

Every span of a line is escaped here and never read as markup. rich is loaded only for a
terminal: what is piped is plain text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol, TextIO

from eskit.cli.text import Line, escape_json, plain, seen_from_here, spans

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from eskit.errors import Diagnostic

ENVELOPE_VERSION = 1
_PROGRESS_EVERY = 0.1

STYLES: Mapping[str, str] = {
    "name": "bold",
    "dim": "dim",
    "key": "cyan",
    "old": "dim",
    "new": "green",
    "ok": "green",
    "warning": "yellow",
    "error": "bold red",
    "command": "bold",
    "aggregate0": "bold",
    "aggregate1": "bold blue",
    "aggregate2": "bold magenta",
    "aggregate3": "bold yellow",
    "aggregate4": "bold green",
}
"""What the styles in lines look like; no style says anything that a word does not."""


class Output:
    """Shows results as lines for people or, with `as_json`, as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.streaming = False

    def result(
        self,
        data: object,
        lines: Iterable[Line] = (),
        *,
        found: bool = False,
        diagnostics: Sequence[Diagnostic] = (),
        cut: bool = False,
    ) -> None:
        """Show what a command did: the envelope around `data`, or `lines`.

        `found` says that a check found something: status ``failed``. With `cut` lines end at the
        width of a terminal.
        """
        if self.as_json:
            status = "failed" if found else "ok"
            self._write(envelope(status, data=data, diagnostics=diagnostics))
            return
        for diagnostic in diagnostics:
            self._diagnose(diagnostic)
        self.show(lines, cut=cut)

    def _diagnose(self, diagnostic: Diagnostic) -> None:
        if not diagnostic.file:
            self.warn(diagnostic.message, hint=diagnostic.hint)
            return
        from eskit.cli.errors import format_diagnostics

        self.note(*format_diagnostics((diagnostic,)))

    def failure(self, data: object, lines: Iterable[Line], *, error: Mapping[str, object]) -> None:
        """Show a result that is itself a failure; the caller exits with 1."""
        if self.as_json:
            self._write(envelope("error", data=data, error=error))
        else:
            self.show(lines)

    def record(self, data: object, lines: Iterable[Line]) -> None:
        """Show one item of a stream: a JSON line, or `lines`."""
        if self.as_json:
            self._write(data)
        else:
            self.show(lines)

    def show(self, lines: Iterable[Line], *, cut: bool = False) -> None:
        """Print lines to stdout; with `cut` each ends at the width of a terminal."""
        print_lines(lines, sys.stdout, cut=cut)

    @contextmanager
    def watching(self) -> Iterator[Callable[[object, Iterable[Line]], None]]:
        """Show a result again and again: in place on a terminal, else one below the other."""
        if self.as_json or not sys.stdout.isatty():
            yield self.record
            return
        from rich.console import Group
        from rich.live import Live

        console = _console(sys.stdout)
        with Live(console=console, auto_refresh=False) as live:

            def draw(_: object, lines: Iterable[Line]) -> None:
                texts = [_styled(line, console, cut=True, end="\n") for line in lines]
                live.update(Group(*texts), refresh=True)

            yield draw

    def note(self, *lines: Line) -> None:
        """Print lines to stderr: what is happening, never the result."""
        print_lines(lines, sys.stderr)

    def warn(self, message: str, *, hint: str = "") -> None:
        """Print a warning to stderr."""
        self.note([("warning", "warning"), f"  {message}"])
        if hint:
            self.note(f"         {hint}")

    def confirm(self, question: str) -> None:
        """Ask before something is destroyed; typer.Abort for no, wrong usage without a terminal."""
        import typer

        if not sys.stdin.isatty():
            raise typer.BadParameter(f"{question} Confirm with --yes", param_hint="--yes")
        typer.confirm(question, abort=True, err=True)

    def _write(self, data: object) -> None:
        sys.stdout.write(to_json(data) + "\n")
        sys.stdout.flush()

    @contextmanager
    def progress(self) -> Iterator[ProgressReporter]:
        """Draw progress: a bar on a terminal, JSON lines on stderr with --json, else nothing."""
        if self.as_json:
            yield JsonProgress()
        elif sys.stderr.isatty():
            from eskit.cli.bar import drawn_on

            with drawn_on(_console(sys.stderr)) as reporter:
                yield reporter
        else:
            yield NoProgress()


class LogToStderr(logging.Handler):
    """Prints warnings and errors of the library, escaped, beside what a command prints."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(levelname)s  %(name)s  %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, a traceback line by line."""
        print_lines(self.format(record).splitlines(), sys.stderr)


class ProgressReporter(Protocol):
    """Takes the progress of long work."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """`done` of `total` (0: unknown) of what `label` names."""


class NoProgress:
    """Shows nothing."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Do nothing."""


class JsonProgress:
    """Writes progress as JSON lines to stderr, at most ten a second for each label."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Write one line, unless one of this label was just written."""
        import time

        now = time.monotonic()
        if done < total and now - self._last.get(label, 0.0) < _PROGRESS_EVERY:
            return
        self._last[label] = now
        line = to_json({"progress": {"name": label, "done": done, "total": total}})
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def envelope(
    status: str,
    *,
    data: object = None,
    error: Mapping[str, object] | None = None,
    diagnostics: Sequence[Diagnostic] = (),
) -> dict[str, object]:
    """The one object that --json prints."""
    return {
        "version": ENVELOPE_VERSION,
        "status": status,
        "data": data,
        "error": error,
        "diagnostics": [diagnostic_object(diagnostic) for diagnostic in diagnostics],
    }


def diagnostic_object(diagnostic: Diagnostic) -> dict[str, object]:
    """A diagnostic for --json; where it is, seen from the current folder, if that is known."""
    found = asdict(diagnostic) | {"file": seen_from_here(diagnostic.file)}
    unknown = {"line", "column", "width"} if not diagnostic.line else set[str]()
    unknown |= {"file"} if not diagnostic.file else set()
    return {name: value for name, value in found.items() if name not in unknown}


def to_json(data: object) -> str:
    """One line of JSON that cannot disturb a terminal."""
    return escape_json(json.dumps(data, ensure_ascii=False))


def print_lines(lines: Iterable[Line], stream: TextIO, *, cut: bool = False) -> None:
    """Print lines: styled, and on wish cut at its width, on a terminal; plain elsewhere."""
    if not stream.isatty():
        stream.writelines(plain(line) + "\n" for line in lines)
        stream.flush()
        return
    console = _console(stream)
    for line in lines:
        console.print(_styled(line, console, cut=cut), soft_wrap=True, highlight=False)


def _styled(line: Line, console: Console, *, cut: bool, end: str = "") -> Text:
    from rich.text import Text

    text = Text(end=end)
    for part, style in spans(line):
        text.append(part, STYLES.get(style, style) or None)
    text.rstrip()
    if cut:
        text.truncate(console.width, overflow="ellipsis")
    return text


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    plain_terminal = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(
        file=stream,
        color_system=None if plain_terminal else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
