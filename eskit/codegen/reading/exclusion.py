"""What a project leaves out of generation: files, packages and services of others' protos."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

# Comments go, strings stay: an import is one.
_COMMENT_OR_STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""", re.DOTALL
)
_PACKAGE = re.compile(r"(?:\A|[;}])\s*package\s+(?P<name>[\w.\s]+?)\s*;")
_IMPORT = re.compile(r"""\bimport\s+(?:(?:public|weak|option)\s+)?["'](?P<name>[^"']+)["']""")
_SERVICE = re.compile(r"(?:\A|[;}])\s*service\s+(?P<name>\w+)\s*\{")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The entries of ``exclude`` in the settings.

    One with a slash, or that ends in ``.proto``, is a folder, a file or a pattern of paths, all
    relative to a proto root; any other is the full name of a package or of a service.
    """

    entries: tuple[str, ...] = ()

    def has_file(self, name: str, package: str) -> bool:
        """Whether a file is left out by its path or its package."""
        return any(
            _is_at(name, entry) if _is_path(entry) else _is_within(package, entry)
            for entry in self.entries
        )

    def has_service(self, full_name: str) -> bool:
        """Whether a service is left out by its name or its package."""
        return any(not _is_path(e) and _is_within(full_name, e) for e in self.entries)

    def select(self, files: Mapping[str, Path]) -> Selection:
        """The files to generate: those not left out, and left out ones that they import."""
        if not self.entries:
            return Selection(files)
        outlines = {name: _read(path) for name, path in files.items()}
        kept = {n for n, outline in outlines.items() if not self.has_file(n, outline.package)}
        ahead = sorted(kept)
        while ahead:
            needed = [n for n in outlines[ahead.pop()].imports if n in files and n not in kept]
            kept.update(needed)
            ahead.extend(needed)
        return Selection(
            files={name: path for name, path in files.items() if name in kept},
            unused=tuple(entry for entry in self.entries if not _matches(entry, outlines)),
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left of a project's files, and the entries that left nothing out."""

    files: Mapping[str, Path]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Outline:
    """What has to be known of a proto before protoc reads it."""

    package: str
    imports: tuple[str, ...]
    services: tuple[str, ...]


def _read(path: Path) -> _Outline:
    try:
        source = path.read_text("utf-8", errors="replace")
    except OSError:
        source = ""  # protoc says why
    text = _COMMENT_OR_STRING.sub(lambda match: match[1] or " ", source)
    package = next((re.sub(r"\s", "", found) for found in _found(_PACKAGE, text)), "")
    return _Outline(package, tuple(_found(_IMPORT, text)), tuple(_found(_SERVICE, text)))


def _found(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    return (match["name"] for match in pattern.finditer(text))


def _matches(entry: str, outlines: Mapping[str, _Outline]) -> bool:
    """Whether the entry leaves out anything."""
    if _is_path(entry):
        return any(_is_at(name, entry) for name in outlines)
    return any(
        _is_within(outline.package, entry)
        or any(f"{outline.package}.{service}".lstrip(".") == entry for service in outline.services)
        for outline in outlines.values()
    )


def _is_path(entry: str) -> bool:
    return "/" in entry or entry.endswith(".proto")


def _is_at(name: str, entry: str) -> bool:
    return name.startswith(f"{entry.rstrip('/')}/") or fnmatchcase(name, entry)


def _is_within(name: str, entry: str) -> bool:
    return f"{name}.".startswith(f"{entry}.")
