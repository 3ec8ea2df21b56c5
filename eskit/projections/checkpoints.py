"""Whether a checkpoint and a log belong together."""

from __future__ import annotations

from eskit.domain.events import LogRow, RecordedEvent, log_row
from eskit.domain.ids import uuid_text
from eskit.errors import CheckpointMismatch, RebuildNeeded
from eskit.projections.log import EventLog, Placed
from eskit.projections.projection import Projection
from eskit.projections.readmodel import START, Mark, Standing


def mark_of(event: RecordedEvent, log: EventLog) -> Mark:
    """The place of an event."""
    return mark_of_row(log_row(event.row), log)


def mark_of_row(row: LogRow, log: EventLog) -> Mark:
    """The place of an event by its row."""
    position, event_id, _, _ = row
    text = uuid_text(event_id) if isinstance(event_id, bytes) else event_id
    return Mark(position, text, log.place_of(position) if isinstance(log, Placed) else "")


def last_mark(log: EventLog, *, after: Mark, until: int) -> Mark:
    """The last event, of any type, after one place and up to another; `after` if there is none."""
    for event in log.read_all(after=after.position, before=until + 1, limit=1, backward=True):
        return mark_of(event, log)
    return after


def check_version(standing: Standing, projection: Projection) -> None:
    """Raise RebuildNeeded if there are rows that another version of the projection made."""
    if standing.mark != START and standing.version != projection.version:
        raise RebuildNeeded(
            f"The rows of {projection.name!r} were made by version {standing.version} of the "
            f"projection, the code is version {projection.version}",
            hint=f"Make them anew beside the old ones: eskit project rebuild {projection.name}",
        )


def check_standing(standing: Standing, log: EventLog) -> None:
    """Raise CheckpointMismatch unless the log has the very event the checkpoint names.

    A restored backup or an exchanged log is noticed here, also after new events have passed the
    old head: another event then stands at the position. Of a log that may have lost events it is
    also known that none is missing behind the checkpoint.
    """
    mark = standing.mark
    if isinstance(log, Placed):
        problem = log.find_mismatch(standing.store_id, mark.position, mark.event_id, mark.place)
        if problem:
            raise CheckpointMismatch(
                f"Projection {standing.name!r} cannot go on behind {mark.position:,}: {problem}",
                hint="The store has every event: eskit project run --source store, or rebuild "
                "from there.",
            )
        return
    problem = "" if mark == START else _find_mismatch(standing, log)
    if problem:
        raise CheckpointMismatch(
            f"Projection {standing.name!r} stands at {mark.position:,} of a log that is "
            f"not this one: {problem}",
            hint="Rebuild the rows if this is the right log: "
            f"eskit project rebuild {standing.name}",
        )


def _find_mismatch(standing: Standing, log: EventLog) -> str:
    if standing.store_id != log.store_id:
        return f"it followed store {standing.store_id}, this is store {log.store_id}"
    return find_event_mismatch(standing.mark, log)


def find_event_mismatch(mark: Mark, log: EventLog) -> str:
    """Why a log is not the one in which a place was passed; empty if it has the same event."""
    if mark == START:
        return ""
    event = log.find_event(mark.position)
    if event is None:
        return f"it ends at {log.head_position():,}, or has no event at {mark.position:,}"
    if event.event_id != mark.event_id:
        return (
            f"at {mark.position:,} it has event {event.event_id}, the projection passed event "
            f"{mark.event_id}"
        )
    return ""
