"""Where the rows of a read model differ from those its events make today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
"""A row by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """One row: as it is, and as it should be; None where it is not, or should not be."""

    live: Row | None
    rebuilt: Row | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDifference:
    """One table: how many rows it has, has to have, and how many differ, with some of them.

    `problem` says why rows were not compared: the table is missing or has other columns.
    """

    table: str
    live_rows: int
    rebuilt_rows: int
    differing: int
    examples: tuple[RowDifference, ...] = ()
    problem: str = ""

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differing and not self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionDifference:
    """All tables of a projection, compared at one position.

    `passed_over` has the positions of events that are skipped or dead letters: they count as not
    handled on both sides.
    """

    name: str
    position: int
    events: int
    tables: tuple[TableDifference, ...]
    passed_over: tuple[int, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the live rows are the ones the events make."""
        return all(table.equal for table in self.tables)
