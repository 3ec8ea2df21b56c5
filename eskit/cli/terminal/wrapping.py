"""Lines that a narrow terminal shows in another way; elsewhere they are as long as they are."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from eskit.cli.terminal.text import Line, Span, shorten, spans, text_of, width

_WORDS = re.compile(r"\s+|\S+")
_LEAST = 16
"""A span is not made shorter than this."""


class Fitted(list[Span], ABC):
    """A line that knows what to do where there is no room for it."""

    @abstractmethod
    def fitted(self, limit: int) -> list[Line]:
        """The same in `limit` columns, as one line or several."""


class Hanging(Fitted):
    """A line that is broken between words; further lines begin at column `indent`.

    A command stays in one piece, for it is copied, and a word that is wider than a line as well:
    where the terminal breaks it there is no break for who copies it.
    """

    def __init__(self, parts: Iterable[Span], *, indent: int) -> None:
        super().__init__(parts)
        self.indent = indent

    def fitted(self, limit: int) -> list[Line]:
        """As many lines as it takes."""
        indent = min(self.indent, limit * 2 // 3)
        lines: list[list[Span]] = [[]]
        at, blanks = 0, ""
        for word, style in self._words():
            if word.isspace() and at:
                blanks += word
                continue
            if at > indent and at + width(blanks) + width(word) > limit:
                lines.append([" " * indent])
                at, blanks = indent, ""
            lines[-1] += [blanks, (word, style)]
            at += width(blanks) + width(word)
            blanks = ""
        return [*lines]

    def _words(self) -> Iterator[tuple[str, str]]:
        for text, style in spans(self):
            words = [text] if style == "command" else _WORDS.findall(text)
            yield from ((word, style) for word in words)


class Narrowing(Fitted):
    """A line of which the span at `gives` gets shorter until those before `until` are seen."""

    def __init__(self, parts: Iterable[Span], *, gives: int, until: int) -> None:
        super().__init__(parts)
        self.gives = gives
        self.until = until

    def fitted(self, limit: int) -> list[Line]:
        """One line, of which what comes last may still be cut off."""
        too_wide = sum(width(text_of(part)) for part in self[: self.until]) - limit
        if too_wide <= 0:
            return [self]
        given = self[self.gives]
        left = max(width(text_of(given)) - too_wide, _LEAST)
        return [[*self[: self.gives], shorten(given, left), *self[self.gives + 1 :]]]


def labelled(label: Span, *text: Span) -> Iterator[Line]:
    """A label and the text beside it; each line of the text begins below the first."""
    indent = width(text_of(label)) + 2
    first, *rest = _text_lines(text)
    yield Hanging([label, "  ", *first], indent=indent)
    for parts in rest:
        yield Hanging([" " * indent, *parts], indent=indent)


def _text_lines(text: Sequence[Span]) -> list[list[Span]]:
    lines: list[list[Span]] = [[]]
    for part in text:
        words, style = (part, "") if isinstance(part, str) else part
        first, *rest = words.splitlines() or [""]
        lines[-1].append((first, style))
        lines += [[(line, style)] for line in rest]
    return lines
