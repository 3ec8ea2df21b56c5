"""Checksums beside events and remembered commands: by them verification finds what has changed.

CRC-32 of everything that a record holds: for damage, not against somebody who knows of it.
"""

from __future__ import annotations

import sqlite3
import struct
from functools import lru_cache
from zlib import crc32

DAMAGED = -1
"""What stands in place of a checksum that did not fit when it was made anew: no record has it."""

_PLACE = struct.Struct(">qqq16s")


@lru_cache(maxsize=4096)
def kind_checksum(tenant: str, stream: str, event_type: str) -> int:
    """What the checksum of an event begins with: the same for all of a type in a stream."""
    return _kind_checksum(tenant.encode(), stream.encode(), event_type.encode())


def event_checksum(
    kind: int,
    position: int,
    version: int,
    recorded_at: int,
    event_id: bytes,
    rest: bytes,
    data: bytes,
) -> int:
    """The checksum of an event; `rest` is its metadata and behind it its claims, as stored."""
    place = _PLACE.pack(position, version, recorded_at, event_id)
    return crc32(data, crc32(place + rest if rest else place, kind))


def command_checksum(
    tenant: bytes,
    command_id: bytes,
    fingerprint: bytes,
    stream: bytes,
    version: int,
    position: int,
    recorded_at: int,
    response: bytes,
) -> int:
    """The checksum of a remembered command, with what it is answered with."""
    place = _PLACE.pack(position, version, recorded_at, b"")
    return crc32(
        response, crc32(b"%b%b\0%b\0%b\0%b\0" % (place, tenant, command_id, fingerprint, stream))
    )


def add_functions(connection: sqlite3.Connection) -> None:
    """Let the statements of a connection compute checksums, of damaged rows too."""
    for name, count, function in (
        ("event_checksum", 10, _event_checksum),
        ("old_event_checksum", 2, _old_event_checksum),
        ("command_checksum", 8, _command_checksum),
    ):
        connection.create_function(name, count, function, deterministic=True)


def _kind_checksum(tenant: bytes, stream: bytes, event_type: bytes) -> int:
    return crc32(b"%b\0%b\0%b" % (tenant, stream, event_type))


def _event_checksum(
    tenant: bytes,
    stream: bytes,
    event_type: bytes,
    position: int,
    version: int,
    recorded_at: int,
    event_id: bytes,
    metadata: bytes,
    claims: bytes,
    data: bytes,
) -> int | None:
    try:
        kind = _kind_checksum(tenant, stream, event_type)
        place = position, version, recorded_at, event_id
        return event_checksum(kind, *place, metadata + claims, data)
    except (TypeError, struct.error):  # where something else stands than was written
        return None


def _command_checksum(*values: object) -> int | None:
    try:
        return command_checksum(*values)  # type: ignore[arg-type]
    except (TypeError, struct.error):
        return None


def _old_event_checksum(metadata: bytes, data: bytes) -> int:
    """As files of schema version 5 have it: of metadata and payload alone."""
    return crc32(data, crc32(metadata))
