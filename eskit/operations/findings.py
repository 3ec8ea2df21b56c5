"""What verification finds, and the verdict that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import starmap
from typing import Literal, TypeAlias

from eskit.errors import StoreDamaged, StoreUnavailable
from eskit.raised import error_line

Verdict: TypeAlias = Literal["ok", "damaged", "unknown"]
Severity: TypeAlias = Literal["error", "unknown", "warning"]

_MOST_OF_A_KIND = 20
RESTORE = "Restore the store from a backup."
UNCHECKABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What reading raises where a damaged file holds something else than belongs there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be, and where in the log it is, if it is in one place.

    `error` means damage, `unknown` that something could not be checked; a `warning` is neither.
    """

    severity: Severity
    code: str
    message: str
    hint: str = ""
    position: int = 0
    stream: str = ""
    tenant: str = ""


class Findings:
    """Collects findings: all are counted, the first of each code are kept.

    Parts of the store that cannot be read for the same reason are one finding.
    """

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._unread: dict[tuple[Severity, str, str], list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._severities: set[Severity] = set()

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if it is among the first of its code."""
        self._severities.add(finding.severity)
        self._counts[finding.code] += 1
        if self._counts[finding.code] <= _MOST_OF_A_KIND:
            self._kept.append(finding)

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn a store that cannot be read within the block into a finding; `what` is plural."""
        try:
            yield
        except StoreDamaged as error:
            self.unreadable(error, what)
        except StoreUnavailable as error:
            self._add_unread("unknown", error.message, error.hint, what)
        except UNCHECKABLE as error:
            message = error_line(error)
            self._add_unread("unknown", message, "See the other findings first.", what)

    def unreadable(self, error: StoreDamaged, what: str) -> None:
        """Count a part of the store that is too damaged to read."""
        damaged = error.code == "STORE_DAMAGED"  # whose hint may be to verify
        self._add_unread("error", error.message, RESTORE if damaged else error.hint, what)

    @property
    def kept(self) -> tuple[Finding, ...]:
        """The first findings of each code, in the order they were made, then what is not read."""
        return (*self._kept, *starmap(_unread, self._unread.items()))

    @property
    def count(self) -> int:
        """How many findings there were."""
        return self._counts.total() + len(self._unread)

    @property
    def verdict(self) -> Verdict:
        """Damaged if anything is, else unknown if anything could not be checked."""
        if "error" in self._severities:
            return "damaged"
        return "unknown" if "unknown" in self._severities else "ok"

    def _add_unread(self, severity: Severity, message: str, hint: str, what: str) -> None:
        self._severities.add(severity)
        self._unread.setdefault((severity, message, hint), []).append(what)


def _unread(reason: tuple[Severity, str, str], parts: Sequence[str]) -> Finding:
    severity, message, hint = reason
    *others, last = parts
    what = f"{', '.join(others)} and {last}" if others else last
    return Finding(
        severity=severity,
        code="UNREADABLE" if severity == "error" else "NOT_READ",
        message=f"{what[0].upper()}{what[1:]} could not be read: {message}",
        hint=hint,
    )
