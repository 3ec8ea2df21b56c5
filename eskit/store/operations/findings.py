"""What verification finds, and the verdict that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from eskit.errors import EskitError, StoreNotRecognised, StoreUnavailable

Verdict: TypeAlias = Literal["ok", "damaged", "unknown"]
Severity: TypeAlias = Literal["error", "unknown", "warning"]

_MOST_OF_A_KIND = 20


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
    """Collects findings: all are counted, the first of each code are kept."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
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
        """Turn a store that cannot be read within the block into a finding."""
        try:
            yield
        except StoreNotRecognised as error:
            self.add(unreadable(error, what))
        except StoreUnavailable as error:
            message = f"{what} could not be read: {error.message}"
            self.add(Finding(severity="unknown", code="NOT_READ", message=message, hint=error.hint))

    @property
    def kept(self) -> tuple[Finding, ...]:
        """The first findings of each code, in the order they were made."""
        return tuple(self._kept)

    @property
    def count(self) -> int:
        """How many findings there were."""
        return self._counts.total()

    @property
    def verdict(self) -> Verdict:
        """Damaged if anything is, else unknown if anything could not be checked."""
        if "error" in self._severities:
            return "damaged"
        return "unknown" if "unknown" in self._severities else "ok"


def unreadable(error: EskitError, what: str) -> Finding:
    """The finding for a part of the store that is too damaged to read."""
    return Finding(
        severity="error",
        code="UNREADABLE",
        message=f"{what} cannot be read: {error.message}",
        hint=error.hint,
    )
