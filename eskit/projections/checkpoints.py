"""Whether a checkpoint and a log belong together."""

from __future__ import annotations

from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.ids import uuid_text
from eskit.errors import CheckpointMismatch, RebuildNeeded
from eskit.projections.log import EventLog, is_placed
from eskit.projections.projection import Projection
from eskit.projections.records import START, EventPosition, ProjectionState


def position_of(event: RecordedEvent, log: EventLog) -> EventPosition:
    """The place of an event."""
    return position_of_row(LogRow.of(event.row), log)


def position_of_row(row: LogRow, log: EventLog) -> EventPosition:
    """The place of an event by its row."""
    position, event_id, _, _ = row
    place = log.place_of(position) if is_placed(log) else ""
    return EventPosition(position, uuid_text(event_id), place)


def last_position(log: EventLog, *, after: EventPosition, until: int) -> EventPosition:
    """The last event, of any type, after one place and up to another; `after` if there is none."""
    for event in log.read_all(after=after.position, before=until + 1, limit=1, backward=True):
        return position_of(event, log)
    return after


def check_version(state: ProjectionState, projection: Projection) -> None:
    """Raise RebuildNeeded if there are rows that another version of the projection made."""
    if state.checkpoint != START and state.version != projection.version:
        raise RebuildNeeded(
            f"The rows of {projection.name!r} were made by version {state.version} of the "
            f"projection, the code is version {projection.version}",
            hint=f"Rebuild them: eskit project rebuild {projection.name}",
        )


def check_checkpoint(state: ProjectionState, log: EventLog) -> None:
    """Raise CheckpointMismatch unless the log has the very event the checkpoint names.

    A restored backup or an exchanged log is noticed here, also after new events have passed the
    old head: another event then stands at the position. Of a log that may have lost events it is
    also known that none is missing behind the checkpoint.
    """
    checkpoint = state.checkpoint
    if is_placed(log):
        problem = log.find_mismatch(
            state.store_id, checkpoint.position, checkpoint.event_id, checkpoint.place
        )
        if problem:
            raise CheckpointMismatch(
                f"Projection {state.name!r} cannot resume after {checkpoint.position:,}: {problem}",
                hint="The store has every event: eskit project run --source store, or rebuild "
                "from there.",
            )
        return
    problem = "" if checkpoint == START else _find_mismatch(state, log)
    if problem:
        raise CheckpointMismatch(
            f"Projection {state.name!r} has a checkpoint at {checkpoint.position:,} of another "
            f"log: {problem}",
            hint=f"Rebuild the rows if this is the right log: eskit project rebuild {state.name}",
        )


def _find_mismatch(state: ProjectionState, log: EventLog) -> str:
    if state.store_id != log.store_id:
        return f"it followed store {state.store_id}, this is store {log.store_id}"
    return find_event_mismatch(state.checkpoint, log)


def find_event_mismatch(checkpoint: EventPosition, log: EventLog) -> str:
    """Why a log is not the one in which a place was passed; empty if it has the same event."""
    if checkpoint == START:
        return ""
    event = log.find_event(checkpoint.position)
    if event is None:
        return f"it ends at {log.head_position():,}, or has no event at {checkpoint.position:,}"
    if event.event_id != checkpoint.event_id:
        return (
            f"at {checkpoint.position:,} it has event {event.event_id}, the projection passed "
            f"event {checkpoint.event_id}"
        )
    return ""
