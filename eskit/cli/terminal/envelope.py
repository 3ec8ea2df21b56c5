"""What ``--json`` prints: one object around a command's result or its failure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eskit.cli.terminal.text import escape_json, seen_from_here

if TYPE_CHECKING:
    from eskit.errors import Diagnostic

ENVELOPE_VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False).encode


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
    found = diagnostic._asdict() | {"file": seen_from_here(diagnostic.file)}
    unknown = {"line", "column", "width"} if not diagnostic.line else set[str]()
    unknown |= {"file"} if not diagnostic.file else set()
    return {name: value for name, value in found.items() if name not in unknown}


def to_json(data: object) -> str:
    """One line of JSON that cannot disturb a terminal."""
    return escape_json(_encode(data))
