"""The schemas of events, inside an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from eskit.schema.recorded import EventSchema
from eskit.sqlite.connections import Runs
from eskit.store.sqlite.queries import query


def save_schemas(database: Runs, schemas: Iterable[EventSchema]) -> None:
    """Keep each schema that differs from what its type had before that position."""
    for schema in schemas:
        database.execute(query("insert_schema"), (schema.schema_id, schema.files))
        database.execute(
            query("insert_event_schema"),
            (schema.event_type, schema.first_position, schema.schema_id),
        )


def load_schemas(connection: sqlite3.Connection) -> list[EventSchema]:
    """Every schema of every type, in the order of the log."""
    return [
        EventSchema(
            event_type=event_type, schema_id=schema_id, files=files, first_position=first_position
        )
        for event_type, schema_id, files, first_position in connection.execute(
            query("list_schemas")
        )
    ]
