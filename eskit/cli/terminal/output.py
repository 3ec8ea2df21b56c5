"""Where a command's result goes: data to stdout, everything else to stderr.

Every span of a line is escaped and never read as markup.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from eskit.cli.terminal.diagnostics import format_diagnostics
from eskit.cli.terminal.hints import Hints
from eskit.cli.terminal.printing import console_on, fitted, print_lines, styled
from eskit.cli.terminal.progress import JsonProgress, NoProgress, ProgressReporter
from eskit.cli.terminal.text import Line, to_json
from eskit.cli.terminal.wrapping import labelled
from eskit.errors import InvalidArgument
from eskit.reports.envelope import envelope

if TYPE_CHECKING:
    from eskit.errors import Diagnostic


class Output:
    """Shows results as lines for people or, with `as_json`, as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.streaming = False
        self.hints = Hints()

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

        `found` says that a check found something: status ``failed``. Of the diagnostics those of
        severity ``info``, remarks on the result, follow it. With `cut` lines end at the width of a
        terminal.
        """
        if self.as_json:
            status = "failed" if found else "ok"
            completed = [d._replace(hint=self.hints.complete(d.hint)) for d in diagnostics]
            self._write(envelope(status, data=data, diagnostics=completed))
            return
        remarks = [diagnostic for diagnostic in diagnostics if diagnostic.severity == "info"]
        for diagnostic in diagnostics:
            if diagnostic not in remarks:
                self._diagnose(diagnostic)
        self.show(lines, cut=cut)
        for remark in remarks:
            self.note([f"{remark.message}: ", (remark.hint, "hint")])

    def _diagnose(self, diagnostic: Diagnostic) -> None:
        if not diagnostic.file:
            self.warn(diagnostic.message, hint=diagnostic.hint)
            return
        self.note(*format_diagnostics((diagnostic,)))

    def failure(self, data: object, lines: Iterable[Line], *, error: Mapping[str, object]) -> None:
        """Show a result that is itself a failure; the caller exits with 1."""
        if self.as_json:
            hint = self.hints.complete(str(error.get("hint", "")))
            self._write(envelope("error", data=data, error={**error, "hint": hint}))
        else:
            self.show(lines)

    def record(self, data: object, lines: Iterable[Line], *, flush: bool = True) -> None:
        """Show one item of a stream: a JSON line, or `lines`.

        Without `flush` it may wait for the next; `flush` it when there is none yet.
        """
        if self.as_json:
            self._write(data, flush=flush)
        else:
            self.show(lines)

    def show(self, lines: Iterable[Line], *, cut: bool = False) -> None:
        """Print lines to stdout; with `cut` each ends at the width of a terminal."""
        print_lines(map(self.hints.shown, lines), sys.stdout, cut=cut)

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
                texts = [
                    styled(part, console, cut=True, end="\n")
                    for line in lines
                    for part in fitted(self.hints.shown(line), console.width)
                ]
                live.update(Group(*texts), refresh=True)

            yield draw

    def note(self, *lines: Line) -> None:
        """Print lines to stderr: what is happening, never the result."""
        print_lines(map(self.hints.shown, lines), sys.stderr)

    def warn(self, message: str, *, hint: str = "") -> None:
        """Print a warning to stderr."""
        self.note(*labelled(("warning", "warning"), message))
        if hint:
            self.note(*labelled(" " * len("warning"), (hint, "hint")))

    def confirm(self, question: str) -> None:
        """Ask before something is destroyed; wrong usage without a terminal.

        Raises typer.Abort for no, and KeyboardInterrupt.
        """
        import typer

        if not sys.stdin.isatty():
            raise InvalidArgument(
                f"Cannot prompt without a terminal: {question}", hint="Confirm with --yes."
            )
        try:
            confirmed = typer.confirm(question, err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None
        if not confirmed:
            raise typer.Abort

    def flush(self) -> None:
        """Let the reader of stdout have what was shown."""
        sys.stdout.flush()

    def _write(self, data: object, *, flush: bool = True) -> None:
        sys.stdout.write(to_json(data) + "\n")
        if flush:
            sys.stdout.flush()

    @contextmanager
    def progress(self) -> Iterator[ProgressReporter]:
        """Draw progress: a bar on a terminal, JSON lines on stderr with --json, else nothing."""
        if self.as_json:
            yield JsonProgress()
        elif sys.stderr.isatty():
            from eskit.cli.terminal.progress_bar import drawn_on

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
