"""Where something stands in a proto file, so that a diagnostic can point at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto, SourceCodeInfo

from eskit.errors import Diagnostic

PathInFile = tuple[int, ...]
_TAB = 8
_WORD = re.compile(r'"[^"]*"|[\w.]+')


@dataclass(frozen=True, slots=True)
class Span:
    """Lines and columns from 0, as protoc counts them."""

    line: int
    column: int
    last_line: int
    end: int


class Locator:
    """Finds declarations of one file; `read` gives its source, or None where there is none."""

    def __init__(self, file: FileDescriptorProto, read: Callable[[str], str | None]) -> None:
        self._name = file.name
        self._read = read
        self._lines: list[str] | None = None
        self._locations = file.source_code_info.location
        # Few places have a comment, and reading the path of one is what takes time.
        self._comments = {
            tuple(place.path): place.leading_comments or place.trailing_comments
            for place in self._locations
            if place.leading_comments or place.trailing_comments
        }
        self._places: dict[PathInFile, SourceCodeInfo.Location] = {}

    def comment(self, path: PathInFile) -> str:
        """The comment above a declaration, or after it on its line; empty without one."""
        text = self._comments.get(path)
        return clean_comment(text) if text else ""

    def diagnostic(
        self, code: str, message: str, hint: str, *paths: PathInFile, at: str = ""
    ) -> Diagnostic:
        """A finding at the first of `paths` that the file has; there, at the text `at`."""
        span = next((s for s in map(self._span, paths) if s), Span(-1, -1, -1, 0))
        line, column, width = self._pinpoint(span, at)
        return Diagnostic(
            code=code,
            message=message,
            hint=hint,
            file=self._name,
            line=line,
            column=column,
            width=width,
        )

    def _span(self, path: PathInFile) -> Span | None:
        self._places = self._places or {tuple(found.path): found for found in self._locations}
        place = self._places.get(path)
        if place is None:
            return None
        line, column, *last_line, end = place.span  # the last line is left out when it is the first
        return Span(line, column, last_line[0] if last_line else line, end)

    def _pinpoint(self, span: Span, at: str) -> tuple[int, int, int]:
        """Line, column and width from 1, in characters."""
        if span.line < 0:
            return 0, 0, 1
        lines = self._source_lines()
        if not lines or span.last_line >= len(lines):
            width = span.end - span.column if span.line == span.last_line else 1
            return span.line + 1, span.column + 1, max(width, 1)
        start = character(lines[span.line], span.column)
        for number in range(span.line, span.last_line + 1) if at else ():
            found = lines[number].find(at, start if number == span.line else 0)
            if found >= 0:
                return number + 1, found + 1, len(at)
        first = lines[span.line].rstrip()
        one_line = span.line == span.last_line
        end = character(lines[span.line], span.end) if one_line else len(first)
        return span.line + 1, start + 1, max(end - start, 1)

    def _source_lines(self) -> list[str]:
        if self._lines is None:
            self._lines = source_lines(self._read(self._name) or "")
        return self._lines


class Locators:
    """By name of a proto, where things are in it; each is made when first asked for."""

    def __init__(
        self, files: Iterable[FileDescriptorProto], read: Callable[[str], str | None]
    ) -> None:
        self._files = {file.name: file for file in files}
        self._read = read
        self._made: dict[str, Locator] = {}

    def __getitem__(self, name: str) -> Locator:
        if name not in self._made:
            self._made[name] = Locator(self._files[name], self._read)
        return self._made[name]


def source_lines(source: str) -> list[str]:
    """The lines as protoc counts them: a form feed, for one, ends none."""
    return [line.rstrip("\r") for line in source.split("\n")]


def character(line: str, column: int) -> int:
    """The index in `line` of protoc's column, which counts bytes and stops at tabs."""
    reached = 0
    for index, text in enumerate(line):
        if reached >= column:
            return index
        reached += _TAB - reached % _TAB if text == "\t" else len(text.encode())
    return len(line)


def pinpoint(finding: Diagnostic, source: str | None) -> Diagnostic:
    """A finding of protoc's with its column in characters and the width of the word there."""
    lines = source_lines(source or "")
    if not 0 < finding.line <= len(lines):
        return finding
    line = lines[finding.line - 1]
    column = character(line, finding.column - 1)
    word = _WORD.match(line, column)
    return finding._replace(column=column + 1, width=len(word[0]) if word else 1)


def clean_comment(comment: str | bytes) -> str:
    """A proto comment as plain lines, without the space after the slashes.

    One that is not UTF-8 comes as bytes: protoc passes over what is in comments.
    """
    text = comment.decode(errors="replace") if isinstance(comment, bytes) else comment
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    indents = [len(line) - len(line.lstrip()) for line in lines if line]
    cut = min(indents, default=0)
    return "\n".join(line[cut:] for line in lines).strip("\n")
