"""What protoc says on standard error, as diagnostics that also say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from eskit.errors import Diagnostic
from eskit.schema import options_pb2
from eskit.text.suggestions import find_nearest

_PLACED = re.compile(
    r"(?P<file>[^:\n]+?\.proto):(?:(?P<line>\d+):(?P<column>\d+):)? (?P<text>.*)\Z"
)
# protoc's own log, of which a user needs to know one sentence.
_LOGGED = re.compile(r"(?:WARNING: All log messages before |[IWEF]\d{4} [\d:.]+ +\d+ \S+\] )")
_NO_SYNTAX = re.compile(
    r"No edition or syntax specified for the proto file: (?P<file>.+?\.proto)\."
)
_NUMBERS = re.compile(r"Suggested field numbers for .+?: (?P<numbers>.+)")
_UNKNOWN_FIELD = re.compile(
    r'Message type "eventsourcing\.(?P<message>\w+)" has no field named "(?P<field>\w+)"'
)

_HINTS = (
    (
        ("was not found or had errors", "File not found"),
        "Put the file under a proto root, or correct the import path.",
    ),
    (
        ("is not defined", "seems to be defined in"),
        "Declare it, or import the file that declares it.",
    ),
    (
        ("is not a message type",),
        "Something else has this name here, such as the rpc: write the message's name in full.",
    ),
    (
        ("is already defined", "already been used"),
        "Give one of the two another name or number.",
    ),
    (("is unused",), "Remove the import."),
    (
        ('Option "(eventsourcing.',),
        "For messages there are aggregate_root and event, for services there is service.",
    ),
    (("Ensure that your proto definition file imports",), "Import the file that declares it."),
    (("Missing field number",), "A field is declared like: string name = 1;"),
    (("enum value must be zero",), "Put a value with the number 0 first: it is the default."),
    (
        ("Interpreting non ascii codepoint",),
        "Save the file as UTF-8; names are ASCII, comments and strings may hold anything.",
    ),
    (
        ('Expected "required", "optional", or "repeated"',),
        'Start the file with syntax = "proto3"; or write one of the three.',
    ),
)


def read_diagnostics(output: str) -> Iterator[Diagnostic]:
    """The errors and warnings in protoc's output, in its order."""
    last: Diagnostic | None = None
    for line in output.splitlines():
        found = _read(line)
        if found is None:
            continue
        numbers = _NUMBERS.match(found.message)
        if last and numbers:  # said of the field that the line before is about
            last = last._replace(hint=f"Give it another number, such as {numbers['numbers']}.")
            continue
        if last:
            yield last
        last = found
    if last:
        yield last


def _read(line: str) -> Diagnostic | None:
    logged = _LOGGED.match(line)
    if logged or not line.strip():
        return _without_syntax(line)
    match = _PLACED.match(line)
    if match is None:
        return Diagnostic(code="PROTOC", message=line.strip(), hint=_hint(line))
    text = match["text"].strip()
    severity = "warning" if text.startswith("warning: ") else "error"
    text = text.removeprefix("warning: ")
    return Diagnostic(
        severity=severity,
        code="PROTO_WARNING" if severity == "warning" else "PROTO_INVALID",
        message=text,
        hint=_hint(text),
        file=match["file"],
        line=int(match["line"] or 0),
        column=int(match["column"] or 0),
    )


def _without_syntax(line: str) -> Diagnostic | None:
    match = _NO_SYNTAX.search(line)
    if match is None:
        return None
    return Diagnostic(
        severity="warning",
        code="PROTO_WARNING",
        message="The file does not name its syntax and is read as proto2.",
        hint='Start it with: syntax = "proto3";',
        file=match["file"],
    )


def _hint(text: str) -> str:
    if match := _UNKNOWN_FIELD.search(text):
        fields = list(options_pb2.DESCRIPTOR.message_types_by_name[match["message"]].fields_by_name)
        near = find_nearest(match["field"], fields)
        return f"Did you mean {near}?" if near else f"It has: {', '.join(fields)}."
    for fragments, hint in _HINTS:
        if any(fragment in text for fragment in fragments):
            return hint
    return "Correct the proto and try again."
