"""What type checkers make of the public names. Checked by ``nox -s types``, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

from google.protobuf.wrappers_pb2 import StringValue

from eskit import (
    ANY,
    AppendResult,
    EventContext,
    EventStore,
    Metadata,
    NewEvent,
    Projection,
    RecordedEvent,
    claim,
    open_store,
)
from eskit.errors import CommandRejected, VersionConflict

names = Projection("names", migrations="migrations/names")


@names.on(StringValue)
def named(event: StringValue, context: EventContext) -> None:
    """A handler keeps its type, so that tests can call it."""
    assert_type(context.event, RecordedEvent)
    context.db.execute("INSERT INTO names VALUES (?)", (event.value,))


def append_and_read(store: EventStore) -> None:
    """Appending and reading keep their types."""
    event = NewEvent(
        StringValue(value="Alice"),
        metadata=Metadata(correlation_id="c-1"),
        claims=(claim("name", "Alice"),),
    )
    assert_type(store.append("Name-1", [event], expected_version=ANY), AppendResult)
    assert_type(store.read_stream("Name-1"), Iterator[RecordedEvent])


def errors_carry_their_facts() -> str:
    """Every error keeps what a caller decides on."""
    try:
        with open_store("memory://") as store:
            assert_type(store, EventStore)
            append_and_read(store)
    except VersionConflict as conflict:
        assert_type(conflict.actual, int)
        return conflict.stream
    except CommandRejected as rejection:
        return rejection.rejection
    return ""
