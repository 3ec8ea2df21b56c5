"""Where a command's result goes: data to stdout, everything else to stderr.

Every span of a line is escaped and never read as markup.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eskit.cli.diagnostics import format_diagnostics
from eskit.cli.envelope import envelope, to_json
from eskit.cli.progress import JsonProgress, NoProgress, ProgressReporter
from eskit.cli.terminal import console_on, print_lines, styled
from eskit.cli.text import Line
from eskit.errors import InvalidArgument

if TYPE_CHECKING:
    from eskit.errors import Diagnostic


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

        console = console_on(sys.stdout)
        with Live(console=console, auto_refresh=False) as live:

            def draw(_: object, lines: Iterable[Line]) -> None:
                texts = [styled(line, console, cut=True, end="\n") for line in lines]
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
            raise InvalidArgument(
                f"{question} Without a terminal nobody can be asked", hint="Confirm with --yes."
            )
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

            with drawn_on(console_on(sys.stderr)) as reporter:
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
