"""Conditions on the fields of decoded events: ``amount>100``, ``owner.name=Alice``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from eskit.cli.terminal.times import parse_moment
from eskit.cli.terminal.values import short_enum
from eskit.errors import InvalidArgument
from eskit.schema.paths import PATH, Shape, find_value

_CONDITION = re.compile(rf"\s*({PATH}?)\s*(>=|<=|!=|=|>|<|~)(.*)\Z", re.DOTALL)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_OPERATOR_CHARACTERS = "=!<>~"
_DURATION = "google.protobuf.Duration"
_TIMESTAMP = "google.protobuf.Timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A field, an operator and a value to compare with; ``~`` means that the text contains it.

    Durations, times and enum values are compared as what they are, an enum by the numbers of its
    values. Anything else is compared as numbers when both sides parse as such, else as text. A
    field that the event does not have satisfies no condition.
    """

    path: str
    comparison: str
    value: str

    def holds(self, data: Mapping[str, Any], shape: Shape = None) -> bool:
        """Whether it holds for an event's data in the JSON mapping.

        Raises InvalidArgument for a value that the field's type can never have.
        """
        found = find_value(data, shape, self.path)
        if found is None or isinstance(found.value, dict | list):
            return False
        text = _text(found.value)
        if self.comparison == "~":
            return self.value in text
        compare = _COMPARISONS[self.comparison]
        if (typed := self._typed(found.field)) is not None:
            return compare(*typed(text))
        left, right = _number(text), _number(self.value)
        if left is not None and right is not None:
            return compare(left, right)
        return compare(text, self.value)

    def _typed(self, field: FieldDescriptor | None) -> Callable[[str], tuple[int, int]] | None:
        """What makes a field's text and the value comparable; None for numbers and text."""
        if field is None:
            return None
        if (enum := field.enum_type) is not None:
            return lambda text: (self._enum_number(text, enum), self._enum_number(self.value, enum))
        kind = field.message_type.full_name if field.message_type is not None else ""
        if kind == _DURATION:
            return lambda text: (self._nanoseconds(text), self._nanoseconds(self.value))
        return self._times if kind == _TIMESTAMP else None

    def _enum_number(self, text: str, enum: EnumDescriptor) -> int:
        if text.lstrip("-").isdecimal():
            return int(text)
        for value in enum.values:
            if text in {value.name, short_enum(value.name, enum)}:
                return int(value.number)
        names = ", ".join(short_enum(value.name, enum) for value in enum.values)
        raise InvalidArgument(
            f"{self.path} has no value {text!r}", hint=f"Compare it with one of: {names}"
        )

    def _nanoseconds(self, text: str) -> int:
        duration = Duration()
        try:
            duration.FromJsonString(text)
        except ValueError:
            raise InvalidArgument(
                f"{self.path} is a duration, and {text!r} is none",
                hint=f"Write seconds: --where '{self.path}{self.comparison}9.5s'",
            ) from None
        return int(duration.seconds) * 10**9 + int(duration.nanos)

    def _times(self, text: str) -> tuple[int, int]:
        """Nanoseconds since 1970; the value may be written as for --since."""
        moment, value = Timestamp(), Timestamp()
        moment.FromJsonString(text)
        try:
            value.FromJsonString(self.value)
        except ValueError:
            value.FromDatetime(parse_moment(self.value))
        return moment.ToNanoseconds(), value.ToNanoseconds()


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


def pick(data: Mapping[str, Any], shape: Shape, paths: Iterable[str]) -> dict[str, Any]:
    """The part of `data` that the paths lead to, by path, in their order."""
    found = {path: find_value(data, shape, path) for path in paths}
    return {path: at.value for path, at in found.items() if at is not None}


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
