"""Identifiers: time-ordered ones for what is new, derived ones for what must repeat."""

from __future__ import annotations

import os
import struct
import threading
import time

_BYTES = 16
_NAMESPACE = bytes.fromhex("6f1c2d1e5f0a5b1c9d530f5a5c1e8a77")
_SEQUENCE = 0x0FFF
_VERSION = 0x7000
_NEXT_MILLISECOND = 0xF000  # added when the sequence has run over into the version
_TAIL_BYTES = 8
_TAILS_AT_ONCE = 256
_TAILS = struct.Struct(f"{_TAIL_BYTES}s" * _TAILS_AT_ONCE)
_VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))


class _Uuid7:
    """RFC 9562 version 7 ids that never go backwards within a process.

    The 12 bits after the millisecond count up within it (method 1 of section 6.2); when they
    run out, or the clock steps back, the last millisecond is carried on.
    """

    def __init__(self) -> None:
        self._last = 0
        self.restart()

    def restart(self) -> None:
        """Share neither the lock nor what is still to be given out, as a forked child must not."""
        self._lock = threading.Lock()
        self._tails: list[bytes] = []

    def next(self) -> bytes:
        # Put together by hand: the UUID class takes three times as long, and every event gets
        # an id.
        head = time.time_ns() // 1_000_000 << 16 | _VERSION
        with self._lock:
            if head <= self._last:
                head = self._last + 1
                if not head & _SEQUENCE:
                    head += _NEXT_MILLISECOND
            self._last = head
            if not self._tails:
                self._tails = _random_tails()
            return head.to_bytes(8, "big") + self._tails.pop()


def _random_tails() -> list[bytes]:
    """The random ends of many ids; made one at a time they are half of what an id costs."""
    random = bytearray(os.urandom(_TAILS.size))
    random[::_TAIL_BYTES] = random[::_TAIL_BYTES].translate(_VARIANT)
    return list(_TAILS.unpack(random))


_uuid7 = _Uuid7()
os.register_at_fork(after_in_child=_uuid7.restart)


def new_id() -> str:
    """A fresh UUID version 7 as text; later ids of one process sort after earlier ones."""
    return uuid_text(_uuid7.next())


def new_id_bytes() -> bytes:
    """The same as the 16 bytes of the UUID."""
    return _uuid7.next()


def derived_id(*parts: str) -> str:
    """The same UUID version 5 for the same parts, for ids that a resend must repeat."""
    from hashlib import sha1  # generated modules import this one, and few of them need it

    digest = sha1(_NAMESPACE + "\x1f".join(parts).encode(), usedforsecurity=False).digest()
    # RFC 9562, section 5.5: the first 16 bytes, with version and variant written over.
    return uuid_text(
        digest[:6]
        + bytes((digest[6] & 0x0F | 0x50, digest[7], digest[8] & 0x3F | 0x80))
        + digest[9:16]
    )


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID's text; ValueError for any other text."""
    # Five times as fast as the UUID class, which is left to refuse and to read other spellings.
    try:
        data = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        data = b""
    if len(data) == _BYTES:
        return data
    from uuid import UUID

    return UUID(text).bytes


def uuid_text(data: bytes) -> str:
    """The text of a UUID's 16 bytes."""
    digits = data.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
