"""Findings about files as a good compiler shows them: place, line, caret, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eskit.cli.terminal.text import Line, Span, width
from eskit.cli.terminal.wrapping import Hanging, labelled
from eskit.reports.envelope import seen_from_here

if TYPE_CHECKING:
    from eskit.errors import Diagnostic

_INDENT = 3
_LONGEST = 100
"""Characters of a line that are shown at most."""


def format_diagnostics(diagnostics: tuple[Diagnostic, ...]) -> Iterator[Line]:
    """Each finding with the line of the file it is about, and what to do."""
    following = [*(after.hint for after in diagnostics[1:]), ""]
    for diagnostic, next_hint in zip(diagnostics, following, strict=True):
        place = ":".join(
            str(part)
            for part in (seen_from_here(diagnostic.file), diagnostic.line, diagnostic.column)
            if part
        )
        severity: list[Span] = (
            [("warning", "warning"), "  "] if diagnostic.severity == "warning" else []
        )
        sentence = [(place, "name"), "  " if place else "", *severity, diagnostic.message]
        yield Hanging(sentence, indent=_INDENT)
        yield from _format_source(diagnostic)
        if diagnostic.hint != next_hint:  # what to do about several is said once, below them
            yield from labelled(" " * (_INDENT - 2), (diagnostic.hint, "hint"))


def _format_source(diagnostic: Diagnostic) -> Iterator[Line]:
    source = _source_line(diagnostic)
    if not source:
        return
    shown, start = _around(source.expandtabs(1), diagnostic.column)
    number = f"{diagnostic.line:5}"
    yield [(f"{number} │ ", "dim"), shown]
    if diagnostic.column:
        marked = shown[start : start + diagnostic.width].rstrip("…")
        marks = "^" * max(1, width(marked))
        yield [(" " * len(number) + " │ ", "dim"), " " * width(shown[:start]), (marks, "error")]


def _around(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and the index of the column in that part."""
    index = max(column - 1, 0)
    if len(line) <= _LONGEST:
        return line, index
    first = max(0, min(index - _LONGEST // 2, len(line) - _LONGEST))
    head = "…" if first else ""
    tail = "…" if first + _LONGEST < len(line) else ""
    return f"{head}{line[first : first + _LONGEST]}{tail}", index - first + len(head)


def _source_line(diagnostic: Diagnostic) -> str:
    if not diagnostic.file or not diagnostic.line:
        return ""
    try:
        text = Path(diagnostic.file).read_bytes().decode(errors="replace")
    except OSError:
        return ""
    lines = text.split("\n")  # as compilers count them
    return lines[diagnostic.line - 1].rstrip("\r") if diagnostic.line <= len(lines) else ""
