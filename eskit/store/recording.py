"""Keeping the schemas of events beside them, from the first append of each type on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from google.protobuf.message import Message

from eskit.domain.events import NewEvent
from eskit.schema.recorded import EventSchema, schema_of


class SchemaRecorder:
    """Knows which message classes this process has recorded in a store.

    A class is asked for once in the life of an open store: afterwards an append pays one look
    into a set for each event.
    """

    def __init__(self) -> None:
        self._recorded: set[type[Message]] = set()

    def unrecorded(self, events: Sequence[NewEvent]) -> tuple[EventSchema, ...]:
        """The schemas among `events` that may not be in the store.

        Each has the number of its first event, from 1, as its position: see `schemas_behind`.
        """
        if len(events) == 1 and type(events[0].message) in self._recorded:
            return ()
        new = {type(event.message) for event in events} - self._recorded
        found: dict[type[Message], EventSchema] = {}
        for number, event in enumerate(events if new else (), start=1):
            kind = type(event.message)
            if kind in new and kind not in found:
                found[kind] = schema_of(kind, first_position=number)
        return tuple(found.values())

    def confirm(self, events: Sequence[NewEvent]) -> None:
        """Remember the classes of events whose schemas are committed."""
        self._recorded.update(type(event.message) for event in events)


def schemas_behind(schemas: Sequence[EventSchema], position: int) -> list[EventSchema]:
    """The schemas of an append whose events follow after a position."""
    return [replace(schema, first_position=position + schema.first_position) for schema in schemas]


def is_news(schema: EventSchema, known: Iterable[EventSchema]) -> bool:
    """Whether a schema differs from what its type has at that position; `known` is in log order."""
    current = ""
    for other in known:
        if other.event_type == schema.event_type and other.first_position <= schema.first_position:
            current = other.schema_id
    return current != schema.schema_id
