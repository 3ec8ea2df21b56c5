"""Times as stores keep them: whole microseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """The microseconds from 1970 to an aware time; TypeError for one without a time zone."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The time in UTC; OverflowError beyond the calendar, TypeError for what is no number."""
    return EPOCH + timedelta(microseconds=microseconds)
