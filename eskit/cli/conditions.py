"""Conditions on the fields of decoded events: ``amount>100``, ``owner.name=Alice``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from eskit.errors import InvalidArgument

_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*?)\s*(>=|<=|!=|=|>|<|~)(.*)\Z", re.DOTALL)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_OPERATOR_CHARACTERS = "=!<>~"
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A field, an operator and a value to compare with; ``~`` means that the text contains it.

    Compared as numbers when both sides parse as such, else as text. A field that the event does
    not have satisfies no condition.
    """

    path: str
    comparison: str
    value: str

    def holds(self, data: Mapping[str, Any]) -> bool:
        """Whether it holds for an event's data in the JSON mapping."""
        found = find_value(data, self.path)
        if found is _MISSING or isinstance(found, dict | list):
            return False
        text = _text(found)
        if self.comparison == "~":
            return self.value in text
        compare = _COMPARISONS[self.comparison]
        left, right = _number(text), _number(self.value)
        if left is not None and right is not None:
            return compare(left, right)
        return compare(text, self.value)


def parse_condition(text: str) -> Condition:
    """``amount>100`` as a condition; InvalidArgument for anything else."""
    found = _CONDITION.match(text)
    value = found[3].strip() if found else ""
    if found is None or value.startswith(tuple(_OPERATOR_CHARACTERS)):
        raise InvalidArgument(
            f"--where {text!r} is not a condition",
            hint="Write FIELD, one of = != > >= < <= ~, and a value: --where 'amount>100'\n"
            "A value that begins like an operator stands in quotes: --where 'note=\">5\"'",
        )
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return Condition(path=found[1], comparison=found[2], value=value)


def find_value(data: object, path: str) -> Any:
    """What a dotted path leads to; list items by index. A marker when there is nothing."""
    for step in path.split("."):
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return _MISSING
    return data


def pick(data: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The part of `data` that the paths lead to, by path, in their order."""
    found = {path: find_value(data, path) for path in paths}
    return {path: value for path, value in found.items() if value is not _MISSING}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
