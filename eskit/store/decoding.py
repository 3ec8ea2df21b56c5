"""Decoding stored events with the schemas that the store keeps, without generated code."""

from __future__ import annotations

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from eskit.domain.events import RecordedEvent
from eskit.errors import EventErased, UnknownEventType
from eskit.schema.recorded import RecordedSchemas
from eskit.store.eventstore import EventStore


class EventDecoder:
    """Decodes the events of one store, each as it was written.

    Follows the log: an event that the schemas known so far do not cover makes it look again.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._schemas = RecordedSchemas(())
        self._loaded_at = -1

    def decode(self, event: RecordedEvent) -> Message:
        """The payload by its recorded schema.

        Raises UnknownEventType when the store has none for the type, EventErased for an erased
        event, PayloadInvalid for damaged bytes, RecordedSchemaInvalid for a damaged schema.
        """
        if event.erased:
            raise EventErased(event.stream, event.version)
        if self._schemas.find(event.event_type, event.global_position) is None:
            if not self._look_again(event):
                raise UnknownEventType(event.event_type)
            return self.decode(event)
        message = self._schemas.decode(event.event_type, event.data, position=event.global_position)
        if len(UnknownFieldSet(message)) and self._look_again(event):
            return self.decode(event)
        return message

    def find_type(self, full_name: str) -> type[Message] | None:
        """A message that an Any holds, by any schema that the store has kept; None for no such."""
        return self._schemas.find_type(full_name)

    def _look_again(self, event: RecordedEvent) -> bool:
        """Load the schemas, unless they were loaded when the event was there already."""
        if event.global_position <= self._loaded_at:
            return False
        self._loaded_at = max(self._store.head_position(), event.global_position)
        self._schemas = RecordedSchemas(self._store.load_schemas())
        return True
