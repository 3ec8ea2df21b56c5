"""Tables without borders: aligned columns; one of them shrinks on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from eskit.cli.terminal.text import Line, Span, shorten, text_of, width
from eskit.cli.terminal.wrapping import Fitted, Hanging

_GAP = 2
_LEAST = 12
"""A column is not cut to less than this."""


def columns(
    rows: Iterable[Sequence[Span]],
    *,
    right: Iterable[int] = (),
    cut: int | None = None,
    whole: int | None = None,
    wrapped: bool = False,
) -> list[Line]:
    """Rows as aligned lines, two blanks between columns; those in `right` align right.

    Where a terminal is too narrow, the column `cut` ends with ``…``; in the column `whole` what is
    too long pushes the rest of its row to a second line; and with `wrapped` the last column is
    broken between words.
    """
    table = [list(row) for row in rows]
    widths = [
        max(width(text_of(row[column])) for row in table if column < len(row))
        for column in range(max((len(row) for row in table), default=0))
    ]
    layout = _Layout(widths, frozenset(right), cut, whole, wrapped)
    return [_Row(row, layout) for row in table]


@dataclass(frozen=True, slots=True)
class _Layout:
    widths: Sequence[int]
    right: frozenset[int]
    cut: int | None
    whole: int | None
    wrapped: bool

    def start(self, column: int) -> int:
        return sum(self.widths[:column]) + _GAP * column

    def aligned(self, row: Sequence[Span]) -> list[Span]:
        line: list[Span] = []
        for column, cell in enumerate(row):
            padding = " " * (self.widths[column] - width(text_of(cell)))
            line += [padding, cell] if column in self.right else [cell, padding]
            line.append(" " * _GAP)
        return line

    def within(self, limit: int) -> _Layout:
        """The layout with the column that gives way as narrow as it has to be."""
        column = self.cut if self.whole is None else self.whole
        if column is None:
            return self
        rest = self.start(len(self.widths)) - _GAP - self.widths[column]
        least = _LEAST if self.whole is None else limit // 2 - self.start(column)
        now = min(self.widths[column], max(limit - rest, least))
        widths = [*self.widths[:column], now, *self.widths[column + 1 :]]
        return replace(self, widths=widths)


class _Row(Fitted):
    def __init__(self, cells: Sequence[Span], layout: _Layout) -> None:
        super().__init__(layout.aligned(cells))
        self._cells = cells
        self._layout = layout

    def fitted(self, limit: int) -> list[Line]:
        layout, cells = self._layout.within(limit), list(self._cells)
        whole, cut = layout.whole, layout.cut
        if whole is not None and width(text_of(cells[whole])) > layout.widths[whole]:
            rest = layout.aligned([*([""] * (whole + 1)), *cells[whole + 1 :]])
            return [self[: 3 * whole + 1], *_lines(rest, layout, limit)]
        if cut is not None:
            cells[cut] = shorten(cells[cut], layout.widths[cut])
        return _lines(layout.aligned(cells), layout, limit)


def _lines(line: list[Span], layout: _Layout, limit: int) -> list[Line]:
    if not layout.wrapped:
        return [line]
    return Hanging(line, indent=layout.start(len(layout.widths) - 1)).fitted(limit)
