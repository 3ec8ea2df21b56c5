"""What differs between two schemas, as findings, and the verdict over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from google.protobuf.message import Message

EVOLVE = "see docs/evolution.md"
_MAP_VALUE = 2


class ChangeSeverity(StrEnum):
    """How much a change matters to what is stored."""

    BREAKING = "breaking"
    WARNING = "warning"
    ADDITION = "addition"


class ChangeVerdict(StrEnum):
    """Who can read what: new code what is stored (backward), old code what is new (forward).

    Unknown if the schema of stored events was never recorded.
    """

    FULL = "FULL"
    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"
    BREAKING = "BREAKING"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """One difference in an event type, or in what callers of a service send and get.

    `path` names the field in dotted form, empty for the type as a whole, and `number` is its own.
    `steps` are the field numbers that lead to what stored events may hold of it, `value` the
    number of an enum value; with `absent` the events that do not hold it are those that matter.
    With `backward` the new schema reads stored events rightly, with `forward` the old one reads
    new events rightly; neither is known for one that is `undecided`. `used_by` names the methods
    whose callers are concerned; it is empty for an event.
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
    absent: bool = False
    undecided: bool = False
    used_by: str = ""

    @property
    def severity(self) -> ChangeSeverity:
        """Breaking when stored events would be misread; an addition when no reader is affected."""
        if not self.backward:
            return ChangeSeverity.BREAKING
        return ChangeSeverity.WARNING if self.notable else ChangeSeverity.ADDITION

    @property
    def subject(self) -> str:
        """What it is about: ``account.v1.MoneyDepositedEvent.amount (2)``."""
        if not self.path:
            return self.event_type
        return f"{self.event_type}.{self.path} ({self.number})"

    @property
    def key(self) -> str:
        """Eight hexadecimal digits that only this change has, by which it can be accepted."""
        told = repr((self.rule, self.subject, self.message, self.used_by))
        return sha256(told.encode()).hexdigest()[:8]

    def touches(self, message: Message) -> bool:
        """Whether a stored event, decoded as it was written, is read otherwise now."""
        return holds(message, self.steps, self.value) is not self.absent


def verdict_of(changes: Iterable[SchemaChange]) -> ChangeVerdict:
    """The verdict over all changes; FULL when there is none."""
    found = list(changes)
    if any(change.undecided for change in found) and all(change.backward for change in found):
        return ChangeVerdict.UNKNOWN
    backward = all(change.backward for change in found)
    forward = all(change.forward for change in found)
    if backward:
        return ChangeVerdict.FULL if forward else ChangeVerdict.BACKWARD
    return ChangeVerdict.FORWARD if forward else ChangeVerdict.BREAKING


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
