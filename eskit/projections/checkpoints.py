"""Whether a checkpoint and a log belong together."""

from __future__ import annotations

from eskit.domain.events import EventRow, RecordedEvent
from eskit.errors import CheckpointMismatch, RebuildNeeded
from eskit.projections.projection import Projection
from eskit.projections.readmodel import START, Mark, Standing
from eskit.store.eventstore import EventStore


def mark_of(event: RecordedEvent) -> Mark:
    """The place of an event."""
    return Mark(event.global_position, event.event_id)


def mark_of_row(row: EventRow) -> Mark:
    """The place of an event by its row."""
    return mark_of(RecordedEvent(*row))


def last_mark(store: EventStore, *, after: Mark, until: int) -> Mark:
    """The last event, of any type, after one place and up to another; `after` if there is none."""
    for event in store.read_all(after=after.position, before=until + 1, limit=1, backward=True):
        return mark_of(event)
    return after


def check_version(standing: Standing, projection: Projection) -> None:
    """Raise RebuildNeeded if there are rows that another version of the projection made."""
    if standing.mark != START and standing.version != projection.version:
        raise RebuildNeeded(
            f"The rows of {projection.name!r} were made by version {standing.version} of the "
            f"projection, the code is version {projection.version}",
            hint=f"Make them anew beside the old ones: eskit project rebuild {projection.name}",
        )


def check_standing(standing: Standing, store: EventStore) -> None:
    """Raise CheckpointMismatch unless the log has the very event the checkpoint names.

    A restored backup or an exchanged log is noticed here, also after new events have passed the
    old head: another event then stands at the position.
    """
    if standing.mark == START:
        return
    problem = _find_mismatch(standing, store)
    if problem:
        raise CheckpointMismatch(
            f"Projection {standing.name!r} stands at {standing.mark.position:,} of a log that is "
            f"not this one: {problem}",
            hint="If this is the right log, make the rows anew: "
            f"eskit project rebuild {standing.name}",
        )


def _find_mismatch(standing: Standing, store: EventStore) -> str:
    if standing.store_id != store.store_id:
        return f"it followed store {standing.store_id}, this is store {store.store_id}"
    position = standing.mark.position
    event = store.find_event(position)
    if event is None:
        return f"it ends at {store.head_position():,}, or has no event at {position:,}"
    if event.event_id != standing.mark.event_id:
        return (
            f"at {position:,} it has event {event.event_id}, the projection passed event "
            f"{standing.mark.event_id}"
        )
    return ""
