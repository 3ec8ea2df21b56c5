"""Erasing what streams said, for good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from eskit.domain.time import from_microseconds
from eskit.errors import InvalidArgument, RecordChanged, StreamNotFound
from eskit.store.eventstore import EventStore
from eskit.store.records import LETTER, Erasure, Record, position_of_letter
from eskit.text.unicode import check_text


def erase(
    store: EventStore,
    streams: Sequence[str],
    *,
    reason: str,
    erased_by: str,
) -> list[Erasure]:
    """Blank streams of the store's tenant and clear its files of what they said.

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
    check_text(reason + erased_by, "An erasure")
    for stream in streams:
        if not store.stream_version(stream):
            raise StreamNotFound(stream)
    with store.view(exclusive=True) as view:
        erasures = [
            view.erase(
                Erasure(
                    stream=stream,
                    tenant=store.tenant,
                    version=0,
                    events=0,
                    erased_at=from_microseconds(store.clock.microseconds()),
                    erased_by=erased_by,
                    reason=reason,
                )
            )
            for stream in streams
        ]
    _erase_error_texts(store, {(stream, store.tenant) for stream in streams})
    store.scrub()
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
