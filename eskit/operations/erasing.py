"""Erasing what streams said, for good."""

from __future__ import annotations

from collections.abc import Sequence

from eskit.errors import InvalidArgument, StreamNotFound
from eskit.store.eventstore import EventStore
from eskit.store.maintenance import Erasure


def erase(
    store: EventStore, streams: Sequence[str], *, reason: str, erased_by: str, tenant: str = ""
) -> list[Erasure]:
    """Blank streams and clear the store's files of what they said.

    That is their payloads, claims and command responses, and of their metadata the principal and
    the user's own pairs.
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
    maintenance.scrub()
    return erasures
