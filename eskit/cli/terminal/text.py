"""Text for people: lines made of spans, columns, numbers and times, without a terminal.

A line is a text or a sequence of spans; a span is a text or a text with the name of a style.
`eskit.cli.terminal.printing` escapes every span, so text from events can be put into a line as it
is.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

Span: TypeAlias = str | tuple[str, str]
Line: TypeAlias = str | Sequence[Span]

_encode = json.JSONEncoder(ensure_ascii=False).encode
_JOINERS = "\u200c\u200d"
"""They join or part letters of Persian and pictures of an emoji; they take no room."""
_UNITS = (("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def escape(text: str) -> str:
    r"""`text` with everything that is not printable written out, as in ``\x1b``.

    That covers control codes, line breaks, direction marks and lone surrogates: what is left
    takes part in no terminal protocol and stays on its line. A joiner stays where it joins.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or _joins(text, at) else _escaped(char)
        for at, char in enumerate(text)
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _joins(text: str, at: int) -> bool:
    """Whether there is a joiner between two characters that can be joined."""
    around = text[at - 1 : at] + text[at + 1 : at + 2]
    return (
        text[at] in _JOINERS
        and len(around) == _BOTH
        and all(not char.isascii() and char.isprintable() for char in around)
    )


_BOTH = 2


def to_json(data: object) -> str:
    """One line of JSON that cannot disturb a terminal."""
    return escape_json(_encode(data))


def escape_json(text: str) -> str:
    r"""JSON text with the unprintable characters that JSON allows written as ``\uXXXX``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def spans(line: Line) -> list[tuple[str, str]]:
    """The escaped spans of a line, each with its style (empty for none)."""
    parts: Sequence[Span] = (line,) if isinstance(line, str) else line
    return [
        (escape(part), "") if isinstance(part, str) else (escape(part[0]), part[1])
        for part in parts
    ]


def plain(line: Line) -> str:
    """The line without styles, escaped, without trailing blanks."""
    return "".join(text for text, _ in spans(line)).rstrip()


def width(text: str) -> int:
    """How many terminal cells the escaped text takes."""
    text = escape(text)
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if char in _JOINERS or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def padded(text: str, cells: int) -> str:
    """`text` with blanks behind it, to take so many cells."""
    return text + " " * (cells - width(text))


def text_of(span: Span) -> str:
    """The text of a span, not escaped."""
    return span if isinstance(span, str) else span[0]


def shorten(span: Span, limit: int) -> Span:
    """The span with what takes more than `limit` cells replaced by ``…``."""
    text = escape(text_of(span)).rstrip()
    if width(text) <= limit:
        text = padded(text, min(limit, width(text_of(span))))
        return text if isinstance(span, str) else (text, span[1])
    while text and width(text) > limit - 1:
        text = text[:-1]
    return f"{text}…" if isinstance(span, str) else (f"{text}…", span[1])


def duration(seconds: float) -> str:
    """The largest fitting unit: ``0.40 s``, ``12 s``, ``3 h``, ``2 days``."""
    if 0 < seconds < 1:
        return f"{max(seconds, 0.01):.2f} s"
    for unit, size in _UNITS:
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}s" if unit == "day" and number > 1 else f"{number} {unit}"
    return "0 s"


def ago(moment: datetime, now: datetime) -> str:
    """``2 days ago``; ``just now`` within a second, and for a time that is still to come."""
    seconds = (now - moment) / timedelta(seconds=1)
    return f"{duration(seconds)} ago" if seconds >= 1 else "just now"


def failure_lines(traceback: str, error: str) -> Iterator[Line]:
    """A traceback, indented, in which the error stands out; the error alone where there is none."""
    lines = traceback.splitlines()
    for line in lines if error in lines or not error else [*lines, error]:
        yield ["  ", (line, "error")] if line == error else f"  {line}"
