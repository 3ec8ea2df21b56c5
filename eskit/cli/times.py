"""Times and durations as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from eskit.errors import InvalidArgument

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_time(text: str) -> datetime:
    """An ISO 8601 time; one without an offset is UTC. InvalidArgument for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            f"{text!r} is not a time", hint="Write it like 2026-05-01T12:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """``90s``, ``5m``, ``2h`` or ``3d``. InvalidArgument for anything else."""
    found = _DURATION.match(text)
    if found is None:
        raise InvalidArgument(f"{text!r} is not a duration", hint="Write it like 90s, 5m, 2h or 3d")
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise InvalidArgument(f"{text!r} is too long a duration") from None


def parse_moment(text: str) -> datetime:
    """A time, or how long ago it was: ``2026-05-01T12:00Z`` or ``5m``. InvalidArgument."""
    if not _DURATION.match(text):
        return parse_time(text)
    try:
        return datetime.now(UTC) - parse_duration(text)
    except OverflowError:
        raise InvalidArgument(f"{text!r} is too long ago") from None
