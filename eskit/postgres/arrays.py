"""Arrays as PostgreSQL reads them in binary, put together at once.

psycopg makes an array item by item, which takes longer than the server needs for a small append.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import ClassVar

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = struct.Struct(">iiIii")  # dimensions, whether some are null, type of items, length, first
_NULL = (-1).to_bytes(4, "big", signed=True)
_SIZES = [size.to_bytes(4, "big") for size in range(4096)]


class Packed(bytes):
    """An array that is ready to be sent; `item` and `oid` are the types of items and array.

    `size` is how many bytes every item has, 0 where they differ.
    """

    __slots__ = ()

    item: ClassVar[int]
    oid: ClassVar[int]
    size: ClassVar[int] = 0

    @classmethod
    def of(cls, items: Sequence[bytes | None]) -> Packed:
        """The array of items in their binary forms; None is NULL."""
        if cls.size and None not in items:
            return cls.joined(len(items), [_SIZES[cls.size].join([b"", *items])])  # type: ignore[list-item]
        return cls.joined(len(items), map(sized, items))

    @classmethod
    def joined(cls, count: int, parts: Iterable[bytes]) -> Packed:
        """The array of so many items, each `sized`; a part may have several."""
        if not count:
            return cls(_HEADER.pack(0, 0, cls.item, 0, 0)[:12])
        return cls(_HEADER.pack(1, 1, cls.item, count, 1) + b"".join(parts))


def sized(item: bytes | None) -> bytes:
    """An item behind its size; None is NULL."""
    if item is None:
        return _NULL
    size = len(item)
    return (_SIZES[size] if size < len(_SIZES) else size.to_bytes(4, "big")) + item


class Texts(Packed):
    """An array of texts in UTF-8."""

    item, oid = 25, 1009


class Blobs(Packed):
    """An array of bytea."""

    item, oid = 17, 1001


class Uuids(Packed):
    """An array of UUIDs, of 16 bytes each."""

    item, oid, size = 2950, 2951, 16


class BigIntegers(Packed):
    """An array of bigint, of 8 bytes each."""

    item, oid, size = 20, 1016, 8


class Integers(Packed):
    """An array of integer."""

    item, oid, size = 23, 1007, 4

    @classmethod
    def of_ints(cls, numbers: Sequence[int]) -> Packed:
        """The array of some numbers."""
        return cls.of([number.to_bytes(4, "big", signed=True) for number in numbers])


def add_dumpers(context: AdaptContext) -> None:
    """Let a connection, or one of its cursors, send packed arrays as they are."""
    for kind in (Texts, Blobs, Uuids, BigIntegers, Integers):
        context.adapters.register_dumper(kind, _DUMPERS[kind])


def _dumper(kind: type[Packed]) -> type[Dumper]:
    class PackedDumper(Dumper):
        format = Format.BINARY
        oid = kind.oid

        def dump(self, obj: bytes) -> bytes:
            return obj

    return PackedDumper


_DUMPERS = {kind: _dumper(kind) for kind in (Texts, Blobs, Uuids, BigIntegers, Integers)}
