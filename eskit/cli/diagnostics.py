"""Findings about files as a good compiler shows them: place, line, caret, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eskit.cli.text import Line, Span, seen_from_here

if TYPE_CHECKING:
    from eskit.errors import Diagnostic


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
        yield [(place, "name"), "  " if place else "", *severity, diagnostic.message]
        yield from _format_source(diagnostic)
        if diagnostic.hint != next_hint:  # what to do about several is said once, below them
            yield from (f"   {line}" for line in diagnostic.hint.splitlines())


def _format_source(diagnostic: Diagnostic) -> Iterator[Line]:
    source = _source_line(diagnostic)
    if not source:
        return
    number = f"{diagnostic.line:5}"
    shown = source.expandtabs(1)
    yield [(f"{number} │ ", "dim"), shown]
    if diagnostic.column:
        marks = "^" * max(1, diagnostic.width)
        yield [(" " * len(number) + " │ ", "dim"), " " * (diagnostic.column - 1), (marks, "error")]


def _source_line(diagnostic: Diagnostic) -> str:
    if not diagnostic.file or not diagnostic.line:
        return ""
    try:
        lines = Path(diagnostic.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[diagnostic.line - 1] if diagnostic.line <= len(lines) else ""
