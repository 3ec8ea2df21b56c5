"""What is around every report: one object with a status, an error and remarks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from eskit.errors import CommandRejected, Diagnostic, EskitError
from eskit.processes.holding import Holder

ENVELOPE_VERSION = 1
Item = TypeVar("Item")


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
    """A diagnostic; where it is, seen from the current folder, if that is known."""
    found = diagnostic._asdict() | {"file": seen_from_here(diagnostic.file)}
    unknown = {"line", "column", "width"} if not diagnostic.line else set[str]()
    unknown |= {"file"} if not diagnostic.file else set()
    return {name: value for name, value in found.items() if name not in unknown}


def error_object(error: EskitError) -> dict[str, object]:
    """Why something failed: code, sentence and hint, or what a handler said of its rejection."""
    if isinstance(error, CommandRejected):
        return {
            "code": error.rejection,
            "message": error.message,
            "solution": error.solution,
            "details": dict(error.details),
        }
    return {"code": error.code, "message": error.message, "hint": error.hint}


def holder_object(holder: Holder | None, name: str = "holder") -> dict[str, object]:
    """The process that holds something, under a name, and the host that it runs on."""
    return {
        name: holder.pid if holder is not None else None,
        "host": (holder.host or None) if holder is not None else None,
    }


def limited(
    found: Iterable[Item], limit: int, *, narrower: str
) -> tuple[list[Item], list[Diagnostic]]:
    """The first entries, and the remark that there are more; `narrower` says how to ask for less.

    Takes no more from `found` than one beyond the limit.
    """
    items = list(islice(found, limit + 1))
    if len(items) <= limit:
        return items, []
    more = Diagnostic(
        severity="info",
        code="MORE_THAN_LIMIT",
        message=f"More than {limit:,}",
        hint=f"raise --limit or {narrower}",
    )
    return items[:limit], [more]


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def timestamp_or_none(moment: datetime | None) -> str | None:
    """The same of a moment that may not have come."""
    return timestamp(moment) if moment else None


def seen_from_here(file: str) -> str:
    """A path relative to the current folder, if that is shorter."""
    return min(os.path.relpath(file), file, key=len) if Path(file).is_absolute() else file
