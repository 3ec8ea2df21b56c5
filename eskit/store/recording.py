"""Keeping the schemas of events beside them, from the first append of each type on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from google.protobuf.message import Message

from eskit.domain.events import NewEvent
from eskit.schema.recorded import EventSchema, schema_of

Kinds: TypeAlias = AbstractSet[type[Message]]
"""Message classes."""

_NONE: Kinds = frozenset()


class SchemaRecorder:
    """Knows which message classes this process has recorded in a store.

    A class is asked for once in the life of an open store: afterwards an append pays one look
    into a set for each event.
    """

    def __init__(self) -> None:
        self._recorded: set[type[Message]] = set()

    def unrecorded(self, events: Sequence[NewEvent]) -> Kinds:
        """The classes among `events` whose schema may not be in the store."""
        if len(events) == 1 and type(events[0].message) in self._recorded:
            return _NONE
        return {type(event.message) for event in events} - self._recorded

    def confirm(self, kinds: Kinds) -> None:
        """Remember classes whose schema is committed."""
        self._recorded.update(kinds)


def schemas_from(
    events: Sequence[NewEvent], kinds: Kinds, *, first_position: int
) -> list[EventSchema]:
    """The schemas of `kinds`, each from its first event on; `events` lie side by side."""
    found: dict[type[Message], EventSchema] = {}
    for position, event in enumerate(events, start=first_position):
        kind = type(event.message)
        if kind in kinds and kind not in found:
            found[kind] = schema_of(kind, first_position=position)
    return list(found.values())


def is_news(schema: EventSchema, known: Iterable[EventSchema]) -> bool:
    """Whether a schema differs from what its type has at that position; `known` is in log order."""
    current = ""
    for other in known:
        if other.event_type == schema.event_type and other.first_position <= schema.first_position:
            current = other.schema_id
    return current != schema.schema_id
