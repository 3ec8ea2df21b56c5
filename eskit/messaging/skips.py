"""Events that the relay skips by an operator's decision, because no broker takes them.

A decision is kept with the log, as a record of the kind ``relay-skip``. It counts for as long as
the event cannot be published: where a server takes it after all, it is published.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import RecordedEvent
from eskit.errors import InvalidArgument, RecordChanged
from eskit.store.eventstore import EventStore

_KIND = "relay-skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySkip:
    """A decision to skip an event: `error` is why it cannot be published."""

    position: int
    event_id: str
    event_type: str
    stream: str
    tenant: str
    error: str
    reason: str
    decided_by: str
    decided_at: datetime


def skip_in_relay(
    store: EventStore,
    event: RecordedEvent,
    *,
    error: str,
    reason: str,
    by: str,
    clock: Clock = SYSTEM_CLOCK,
) -> RelaySkip:
    """Let the relay of a store pass an event over; InvalidArgument if that is decided already."""
    skip = RelaySkip(
        position=event.global_position,
        event_id=event.event_id,
        event_type=event.event_type,
        stream=event.stream,
        tenant=event.tenant,
        error=error,
        reason=reason,
        decided_by=by,
        decided_at=clock.now,
    )
    value = json.dumps({**asdict(skip), "decided_at": skip.decided_at.isoformat()})
    try:
        store.save_record(_KIND, str(event.global_position), value, expected_revision=0)
    except RecordChanged as changed:
        raise InvalidArgument(
            f"The event at position {event.global_position} is skipped already",
            hint="See by whom, and why: eskit relay --status",
        ) from changed
    return skip


def find_relay_skip(store: EventStore, event: RecordedEvent) -> RelaySkip | None:
    """The decision about an event, if there is one."""
    record = store.find_record(_KIND, str(event.global_position))
    skip = _skip_of(record.value) if record is not None else None
    return skip if skip is not None and skip.event_id == event.event_id else None


def list_relay_skips(store: EventStore) -> list[RelaySkip]:
    """All decisions, in the order of the log."""
    found = [_skip_of(record.value) for record in store.list_records(_KIND)]
    return sorted(found, key=lambda skip: skip.position)


def _skip_of(value: str) -> RelaySkip:
    pairs = json.loads(value)
    return RelaySkip(**{**pairs, "decided_at": datetime.fromisoformat(pairs["decided_at"])})
