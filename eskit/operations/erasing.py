"""Erasing what streams said, for good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from eskit.errors import InvalidArgument, RecordChanged, StreamNotFound
from eskit.store.eventstore import EventStore
from eskit.store.maintenance import Erasure
from eskit.store.records import LETTER, Record, position_of_letter


def erase(
    store: EventStore, streams: Sequence[str], *, reason: str, erased_by: str, tenant: str = ""
) -> list[Erasure]:
    """Blank streams and clear the store's files of what they said.

    That is their payloads, claims and command responses, of their metadata the principal and
    the user's own pairs, and what handlers of reactions have said of their events: the error texts
    of dead letters.
    Positions, versions, types, times and ids stay. What lies elsewhere is not reached: backups
    and exports made before, read models, messages in NATS. Repeated, it finishes what an earlier
    call could not. Raises StreamNotFound before anything is changed, and StoreUnavailable when
    the files cannot be cleared because a process reads them.
    """
    if not reason.strip():
        raise InvalidArgument("An erasure needs a reason", hint="It is kept as its audit record.")
    for stream in streams:
        if not store.stream_version(stream, tenant):
            raise StreamNotFound(stream)
    maintenance = store.maintenance
    erasures = [
        maintenance.erase_stream(stream, reason=reason, erased_by=erased_by, tenant=tenant)
        for stream in streams
    ]
    _erase_error_texts(store, {(stream, tenant) for stream in streams})
    maintenance.scrub()
    return erasures


def _erase_error_texts(store: EventStore, streams: AbstractSet[tuple[str, str]]) -> None:
    """Blank what was raised on events that reactions have set aside: it may repeat a payload."""
    for record in store.list_records(LETTER):
        event = store.find_event(position_of_letter(record.key))
        if event is None or (event.stream, event.tenant) not in streams:
            continue
        found: Record | None = record
        while found is not None:
            blank = {**json.loads(found.value), "error": "erased", "traceback": ""}
            value = json.dumps(blank)
            try:
                if value != found.value:
                    store.save_record(LETTER, found.key, value, expected_revision=found.revision)
            except RecordChanged:  # somebody decides about it just now
                found = store.find_record(LETTER, found.key)
            else:
                break
