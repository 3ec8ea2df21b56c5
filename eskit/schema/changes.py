"""What differs between two schemas, as findings, and the verdict over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.message import Message

EVOLVE = "see docs/evolution.md"
_MAP_VALUE = 2


class Severity(StrEnum):
    """How much a change matters to what is stored."""

    BREAKING = "breaking"
    WARNING = "warning"
    ADDITION = "addition"


class Verdict(StrEnum):
    """Who can read what: new code what is stored (backward), old code what is new (forward)."""

    FULL = "FULL"
    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"
    BREAKING = "BREAKING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference in an event type.

    `path` names the field in dotted form, empty for the type as a whole, and `number` is its own.
    `steps` are the field numbers that lead to what stored events may hold of it, `value` the
    number of an enum value. With `backward` the new schema reads stored events rightly, with
    `forward` the old one reads new events rightly.
    """

    rule: str
    event_type: str
    message: str
    path: str = ""
    number: int = 0
    steps: tuple[int, ...] = ()
    value: int | None = None
    fix: str = ""
    backward: bool = True
    forward: bool = True
    notable: bool = True

    @property
    def severity(self) -> Severity:
        """Breaking when stored events would be misread; an addition when nobody is concerned."""
        if not self.backward:
            return Severity.BREAKING
        return Severity.WARNING if self.notable else Severity.ADDITION

    @property
    def subject(self) -> str:
        """What it is about: ``account.v1.MoneyDepositedEvent.amount (2)``."""
        if not self.path:
            return self.event_type
        return f"{self.event_type}.{self.path} ({self.number})"

    def touches(self, message: Message) -> bool:
        """Whether a stored event, decoded as it was written, holds what is changed."""
        return holds(message, self.steps, self.value)


def verdict_of(changes: Iterable[Change]) -> Verdict:
    """The verdict over all changes; FULL when there is none."""
    found = list(changes)
    backward = all(change.backward for change in found)
    forward = all(change.forward for change in found)
    if backward:
        return Verdict.FULL if forward else Verdict.BACKWARD
    return Verdict.FORWARD if forward else Verdict.BREAKING


def holds(message: Message, steps: tuple[int, ...], value: int | None = None) -> bool:
    """Whether the field that the numbers lead to is set (to `value`) anywhere in the message.

    No steps lead to the message itself, which is there. A field with its default value is not
    on the wire where the proto knows no presence: then it is not set.
    """
    if not steps:
        return True
    number, *rest = steps
    for field, content in type(message).ListFields(message):
        if field.number != number:
            continue
        items = list(content) if field.is_repeated else [content]
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            if rest[:1] != [_MAP_VALUE]:
                return True
            items, rest = list(content.values()), rest[1:]
        if rest:
            return any(holds(item, tuple(rest), value) for item in items)
        return value is None or value in items
    return False
