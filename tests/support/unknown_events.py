"""Events of types that nothing knows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def make_message(full_name: str, field: str) -> Any:
    """A message class that the default pool does not know."""
    package, _, name = full_name.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package=package, syntax="proto3"
    )
    file.message_type.add(name=name).field.add(name=field, number=1, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


def forget_schemas(store_url: str) -> None:
    """Leave the store as one that was migrated from before it kept schemas."""
    with closing(sqlite3.connect(store_url.removeprefix("sqlite:///"))) as database, database:
        database.execute("DELETE FROM event_schemas")
