"""One finding for two protos that declare the same, where protoc has one for every name in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eskit.errors import Diagnostic

_DUPLICATE = re.compile(r'"(?P<name>[\w.]+)" is already defined in file "(?P<first>[^"]+)"\.')
_NOT_IMPORTED = re.compile(r'"(?P<name>[\w.]+)" seems to be defined in "(?P<first>[^"]+)"')
_ENUM_VALUE = "Note that enum values use C++ scoping rules"


@dataclass(slots=True)
class _Duplicates:
    """The names that one file declares again, each with what protoc said of it."""

    first: str
    names: dict[str, Diagnostic] = field(default_factory=dict)


def merge_duplicates(messages: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The messages of protoc, with one for each two files that declare the same names."""
    values = {_place(m) for m in messages if m.message.startswith(_ENUM_VALUE)}
    duplicates: dict[tuple[str, str], _Duplicates] = {}
    for message in messages:
        if match := _DUPLICATE.match(message.message):
            pair = duplicates.setdefault(
                (message.file, match["first"]), _Duplicates(match["first"])
            )
            pair.names[match["name"]] = message
    findings = {
        key: found for key, pair in duplicates.items() if (found := _describe(pair, values))
    }
    merged: list[Diagnostic] = []
    for message in messages:
        key = _belongs_to(message, duplicates, values)
        if key not in findings:
            merged.append(message)
        elif findings[key] not in merged:
            merged.append(findings[key])
    return merged


def _describe(pair: _Duplicates, values: set[tuple[str, int, int]]) -> Diagnostic | None:
    """The finding about the outermost names; None where only values of enums clash."""
    outermost = sorted(
        (
            (message.line, name)
            for name, message in pair.names.items()
            if name.rpartition(".")[0] not in pair.names and _place(message) not in values
        )
    )
    if not outermost:
        return None
    name = outermost[0][1]
    at = pair.names[name]
    more = len(outermost) - 1
    what = f"{name} and {more:,} more are" if more else f"{name} is"
    return Diagnostic(
        code="DECLARED_TWICE",
        message=f"{what} declared in both files: {pair.first} and {at.file}",
        hint="Keep one of the two declarations, and import its file where the other one was.",
        file=at.file,
        line=at.line,
        column=at.column,
    )


def _belongs_to(
    message: Diagnostic,
    duplicates: Mapping[tuple[str, str], _Duplicates],
    values: set[tuple[str, int, int]],
) -> tuple[str, str] | None:
    """The two files whose duplicates the message is about, or follows from."""
    if match := _DUPLICATE.match(message.message):
        return message.file, match["first"]
    if match := _NOT_IMPORTED.match(message.message):
        key = (message.file, match["first"])
        return key if key in duplicates and match["name"] in duplicates[key].names else None
    if _place(message) in values:
        for key, pair in duplicates.items():
            if any(_place(named) == _place(message) for named in pair.names.values()):
                return key
    return None


def _place(message: Diagnostic) -> tuple[str, int, int]:
    return message.file, message.line, message.column
