"""What operations on a store as a whole report of themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` of the step called `name`."""

    name: str
    done: int
    total: int


ReportProgress: TypeAlias = Callable[[Progress], None]


def no_progress(_progress: Progress) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedCommands:
    """How many commands were forgotten, or would be: all recorded before a moment.

    But those that a follower would send again stay: `needed` counts them by follower. `before` is
    None when no moment is so long ago, as far as clocks can be trusted.
    """

    commands: int
    before: datetime | None
    needed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """A finished and checked backup; `store_id` is its own, `origin` that of its original."""

    path: Path
    store_id: str
    origin: str
    events: int
    head: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedStore:
    """The store that was in the place of a restored one, and where it is kept.

    Of a damaged one nobody knows how many events it has, or where it ends.
    """

    path: Path
    events: int | None
    head: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """A backup in the place of a store; `store_id` is its own, `origin` that of the backup."""

    url: str
    store_id: str
    origin: str
    events: int
    head: int
    replaced: ReplacedStore | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What was or would be migrated; without a step both versions are the same."""

    before: int
    after: int
    backup: Path | None = None

    @property
    def needed(self) -> bool:
        """Whether there is a step between the two."""
        return self.before != self.after
