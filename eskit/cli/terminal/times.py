"""Times as they are typed, and as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from eskit.cli.terminal.text import ago, duration
from eskit.errors import InvalidArgument
from eskit.reports.envelope import timestamp
from eskit.text.quantities import is_duration, parse_duration

_WITHIN = timedelta(minutes=1)


class TimeStyle(StrEnum):
    """How times are shown."""

    DELTA = "delta"
    TIME = "time"
    FULL = "full"
    AGO = "ago"


ClockOption = Annotated[
    TimeStyle,
    typer.Option(
        "--clock", help="Distance to the event before, local time, exact time in UTC, or age."
    ),
]
"""How a command shows when events were recorded."""


def parse_moment(text: str) -> datetime:
    """A time, or how long ago it was: ``2026-05-01T12:00Z`` or ``5m``. InvalidArgument.

    A time without an offset is local, as times are shown.
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
    try:
        return moment if moment.tzinfo else moment.astimezone()
    except (OverflowError, ValueError):
        raise InvalidArgument(f"{text!r} is a time that no clock here can show") from None


def format_time(moment: datetime) -> str:
    """The time of day here; for another day than today the date and the time."""
    here = moment.astimezone()
    if here.date() == datetime.now().astimezone().date():
        return here.strftime("%H:%M:%S.%f")[:12]
    return f"{here:%Y-%m-%d %H:%M:%S}"


def format_clock(moment: datetime, previous: datetime | None, clock: TimeStyle) -> str:
    """What the clock shows in a line: in one width, but wider for other days than today."""
    if clock is TimeStyle.FULL:
        return timestamp(moment)
    if clock is TimeStyle.AGO:
        return f"{ago(moment, datetime.now(UTC)):>12}"
    time = format_time(moment)
    near = previous is not None and timedelta() <= moment - previous < _WITHIN
    if clock is TimeStyle.DELTA and near and previous is not None:
        return f"{f'+{(moment - previous).total_seconds():.3f}':>{len(time)}}"
    return time


class Times:
    """What the clock shows above each event of a run of them, one after the other.

    With DELTA the age of the first, then how long after its predecessor each was recorded; going
    `backward` the age of each.
    """

    def __init__(self, *, clock: TimeStyle = TimeStyle.DELTA, backward: bool = False) -> None:
        self.backward = backward
        self._clock = clock
        self._now = datetime.now(UTC)
        self._previous: datetime | None = None

    def of(self, moment: datetime) -> str:
        """When the next event was recorded."""
        previous, self._previous = self._previous, moment
        if self._clock is TimeStyle.FULL:
            return timestamp(moment)
        if self._clock is TimeStyle.TIME:
            return format_time(moment)
        if self._clock is TimeStyle.AGO or self.backward or previous is None:
            return ago(moment, self._now)
        return f"+{duration((moment - previous) / timedelta(seconds=1))}"
