"""From an error to what is shown of it and the exit code: the one place where commands fail.

Exit codes: 1 failed, 2 wrong usage, 3 a check found something, 130 interrupted. Commands
raise; they never print an error themselves.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import typer

from eskit.cli.terminal.diagnostics import format_diagnostics
from eskit.cli.terminal.printing import end_line_of_ctrl_c
from eskit.cli.terminal.text import Line, to_json, width
from eskit.cli.terminal.wrapping import labelled
from eskit.errors import CommandRejected, EskitError, InvalidArgument, SchemaInvalid
from eskit.raised import error_line, error_traceback
from eskit.reports import envelope as reports
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.cli.terminal.output import Output

FAILED = 1
USAGE = 2
FOUND = 3
INTERRUPTED = 130

_INVALID_VALUE = re.compile(r"\AInvalid value(?: for '?(.+?)'?)?: (?:Value error, )?")
"""How the libraries begin: what follows says it better."""

# typer brings its own copy of click or depends on it, by version; both derive this way.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


def report(error: BaseException, output: Output, *, debug: bool) -> int:
    """Show why a command ended and return the exit code."""
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return _leave_closed_pipe()
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        if isinstance(error, KeyboardInterrupt):
            end_line_of_ctrl_c()
        output.note(*labelled(("interrupted", "error"), (str(error), "hint")))
        return INTERRUPTED
    _drop_unwritten()
    with contextlib.suppress(OSError):  # nowhere to say it; the exit code still does
        _show(error, output, debug=debug)
    _drop_unwritten()
    return exit_code(error)


def _show(error: BaseException, output: Output, *, debug: bool) -> None:
    if debug:
        output.note(*error_traceback(error).splitlines())
    if output.as_json:
        _show_json(error, output)
    else:
        output.note(*format_error(error, debug=debug))


def exit_code(error: BaseException) -> int:
    """2 for what could never have worked as typed, 1 for everything else."""
    return USAGE if isinstance(error, (InvalidArgument, UsageError)) else FAILED


def error_object(error: BaseException) -> dict[str, object]:
    """The `error` of the envelope, also for what is no error of eskit."""
    if isinstance(error, EskitError):
        return reports.error_object(error)
    code, message, hint = _describe(error)
    return {"code": code, "message": message, "hint": hint}


def format_error(error: BaseException, *, debug: bool = False) -> Iterator[Line]:
    """What happened in one sentence, then what to do next."""
    if isinstance(error, CommandRejected):
        yield from _format_rejection(error)
        return
    if isinstance(error, SchemaInvalid) and error.diagnostics:
        yield from format_diagnostics(error.diagnostics)
        problems = sum(found.severity != "warning" for found in error.diagnostics)
        yield f"{count(problems, 'problem')}, nothing written"
        return
    _, message, hint = _describe(error)
    yield from labelled(("error", "error"), message)
    if hint and not (debug and not isinstance(error, EskitError)):
        yield from labelled(" " * len("error"), (hint, "hint"))


def _format_rejection(error: CommandRejected) -> Iterator[Line]:
    label = "rejected"
    yield from labelled((label, "error"), (error.rejection, "name"), "  ", error.message)
    if error.solution:
        yield from labelled(" " * len(label), error.solution)
    longest = max(map(width, error.details), default=0)
    for name, value in error.details.items():
        padded = name + " " * (longest - width(name))
        yield from labelled(f"{' ' * len(label)}  {padded}", value)


def _describe(error: BaseException) -> tuple[str, str, str]:
    """Code, message and hint of any error."""
    if isinstance(error, EskitError):
        return error.code, error.message, error.hint
    if isinstance(error, UsageError):
        return "USAGE", _usage_message(error), _usage_hint(error)
    if isinstance(error, _ClickError):
        return "ERROR", str(error), ""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return "SYSTEM_ERROR", f"{where}{error.strerror}", ""
    from eskit.schema.loading import explain

    if explained := explain(error):
        return explained.code, explained.message, explained.hint
    return (
        "UNEXPECTED",
        f"Unexpected {error_line(error)}",
        "Show the traceback: the same command with --debug",
    )


def _usage_message(error: BaseException) -> str:
    format_message = getattr(error, "format_message", None)
    text = str(format_message()) if format_message else str(error)
    return _INVALID_VALUE.sub(lambda found: f"{found[1]}: " if found[1] else "", text, count=1)


def _usage_hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    return f"See: {context.command_path} --help" if context else "See: eskit --help"


def _show_json(error: BaseException, output: Output) -> None:
    status = "failed" if isinstance(error, CommandRejected) else "error"
    diagnostics = error.diagnostics if isinstance(error, SchemaInvalid) else ()
    shown = error_object(error)
    if "hint" in shown:
        shown["hint"] = output.hints.complete(str(shown["hint"]))
    completed = [d._replace(hint=output.hints.complete(d.hint)) for d in diagnostics]
    found: Mapping[str, object] = reports.envelope(status, error=shown, diagnostics=completed)
    stream = sys.stderr if output.streaming else sys.stdout
    stream.write(to_json(found) + "\n")
    stream.flush()


def _leave_closed_pipe() -> int:
    """The reader has gone: nothing is wrong, and the last flush must not say so either."""
    _drop_unwritten()
    return 0


def _drop_unwritten() -> None:
    """What cannot be written to a closed pipe or a full disk is not tried again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
