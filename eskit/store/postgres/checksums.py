"""Checksums beside events and remembered commands: by them verification finds what has changed.

The function `append` and the checks of verification have the other half in functions.sql: it adds
the place that a row gets. For damage, not against somebody who knows of it.
"""

from __future__ import annotations

from hashlib import sha256

_SIZE = 8


def kind_of(tenant: str, stream: str, event_type: str) -> bytes:
    """What the content of all events of a type in a stream has in common."""
    return f"{tenant}\1{stream}\1{event_type}\1".encode()


def event_content(
    kind: bytes, event_id: bytes, metadata: bytes, claims: bytes, data: bytes
) -> bytes:
    """The first half of the checksum of an event, as the bytes of a bigint."""
    return sha256(b"%b%b%b\1%b\1%b" % (event_id, kind, metadata, claims, data)).digest()[:_SIZE]


def command_content(
    tenant: str, command_id: str, fingerprint: str, stream: str, response: bytes
) -> bytes:
    """The first half of the checksum of a command, as the bytes of a bigint."""
    names = f"{tenant}\1{command_id}\1{fingerprint}\1{stream}\1".encode()
    return sha256(names + response).digest()[:_SIZE]
