"""A checksum beside every event, by which verification finds bytes that changed on the disk."""

from __future__ import annotations

from zlib import crc32


def checksum(metadata: bytes, data: bytes) -> int:
    """CRC-32 of metadata and payload: for damage, not against somebody who knows of it."""
    return crc32(data, crc32(metadata))
