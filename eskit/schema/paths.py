"""Paths to values in protobuf's JSON mapping: ``owner.name``, ``limits.0.amount``, ``labels.a/b``.

Steps are field names, keys of maps, and numbers for places in lists. A key is quoted as in JSON
where it has characters of another kind: ``labels."two words"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Shape: TypeAlias = Descriptor | FieldDescriptor | None
"""What the proto says of a value: its message, its field, or nothing."""

PATH = r"""(?:[\w@/.-]|"(?:[^"\\]|\\.)*")+"""
"""What a path looks like, as a regular expression."""

_FREE = frozenset({"google.protobuf.Any", "google.protobuf.Struct"})
"""Messages whose keys in JSON are not their own fields."""

_STEP = re.compile(r'"(?:[^"\\]|\\.)*"|[^."]+')
_PLAIN = re.compile(r"[\w@/.-]+\Z")


class Found(NamedTuple):
    """A value, and the field that it belongs to where the proto tells."""

    value: Any
    field: FieldDescriptor | None


def join_path(path: str, step: str | int) -> str:
    """The path of a value below another."""
    text = str(step)
    if not _PLAIN.match(text):
        text = json.dumps(text, ensure_ascii=False)
    return f"{path}.{text}" if path else text


def split_path(path: str) -> list[str]:
    """The steps of a path; a quoted one without its quotes."""
    return [json.loads(step) if step[0] == '"' else step for step in _STEP.findall(path)]


def find_value(data: Any, shape: Shape, path: str) -> Found | None:
    """What a path leads to, if it leads anywhere.

    A key with dots is found without quotes, too: the longest key that fits is taken.
    """
    return _find(data, shape, split_path(path))


def _find(data: Any, shape: Shape, steps: Sequence[str]) -> Found | None:
    if not steps:
        return Found(data, shape if isinstance(shape, FieldDescriptor) else None)
    if isinstance(data, list):
        if not steps[0].isdecimal() or int(steps[0]) >= len(data):
            return None
        return _find(data[int(steps[0])], shape, steps[1:])
    if isinstance(data, Mapping):
        for end in range(len(steps), 0, -1):
            key = ".".join(steps[:end])
            if key in data:
                found = _find(data[key], shape_below(shape, key), steps[end:])
                if found is not None:
                    return found
    return None


def shape_below(shape: Shape, key: str) -> FieldDescriptor | None:
    """The field of a message, or what a map holds by key; None where the proto does not tell."""
    if isinstance(shape, FieldDescriptor):
        entry = shape.message_type
        if entry is not None and is_map(shape):
            return entry.fields_by_name["value"]
        shape = entry
    if shape is None or shape.full_name in _FREE:
        return None
    return shape.fields_by_name.get(key)


def is_map(shape: Shape) -> bool:
    """Whether it is a field that is a map."""
    if not isinstance(shape, FieldDescriptor) or shape.message_type is None:
        return False
    return bool(shape.message_type.GetOptions().map_entry)
