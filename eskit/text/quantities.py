"""Durations, sizes and numbers as people type and read them."""

from __future__ import annotations

import re
from datetime import timedelta

from eskit.errors import InvalidArgument

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SIZE = re.compile(r"(\d+)\s*(B|KB|MB|GB|TB)?\Z", re.IGNORECASE)
_BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def is_duration(text: str) -> bool:
    """Whether it is written like a duration: ``90s``."""
    return _DURATION.match(text) is not None


def parse_duration(text: str) -> timedelta:
    """``90s``, ``5m``, ``2h`` or ``3d``. InvalidArgument for anything else."""
    found = _DURATION.match(text)
    if found is None:
        raise InvalidArgument(f"{text!r} is not a duration", hint="Write it like 90s, 5m, 2h or 3d")
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise InvalidArgument(f"{text!r} is too long a duration") from None


def format_duration(seconds: float) -> str:
    """In the largest unit that fits exactly: ``7d``, ``90s``, ``1.5s``."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.9g}s"


def parse_number(text: str) -> int:
    """A whole number from 1. InvalidArgument for anything else."""
    if not (text.isascii() and text.isdigit() and text.strip("0")):
        raise InvalidArgument(f"{text!r} is not a whole number, 1 or more", hint="Write it like 3.")
    return int(text)


def parse_size(text: str) -> int:
    """Bytes: ``500``, ``64KB``, ``8MB`` or ``10GB``, in powers of 1024. InvalidArgument."""
    found = _SIZE.match(text)
    if found is None:
        raise InvalidArgument(f"{text!r} is not a size", hint="Write it like 500, 64KB, 8MB, 10GB")
    return int(found[1]) * _BYTES[(found[2] or "B").upper()]


def format_size(number: int) -> str:
    """In the largest unit that fits exactly: ``10GB``, ``1500B``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if number and number % _BYTES[unit] == 0:
            return f"{number // _BYTES[unit]}{unit}"
    return f"{number}B"


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 event``, ``2,310 events``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
