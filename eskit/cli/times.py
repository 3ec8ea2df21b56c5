"""Times as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime

from eskit.domain.quantities import is_duration, parse_duration
from eskit.errors import InvalidArgument


def parse_moment(text: str) -> datetime:
    """A time, or how long ago it was: ``2026-05-01T12:00Z`` or ``5m``. InvalidArgument.

    A time without an offset is UTC.
    """
    if is_duration(text):
        try:
            return datetime.now(UTC) - parse_duration(text)
        except OverflowError:
            raise InvalidArgument(f"{text!r} is too long ago") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            f"{text!r} is not a time",
            hint="Write it like 2026-05-01T12:00:00Z, or how long ago it was, like 5m",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
