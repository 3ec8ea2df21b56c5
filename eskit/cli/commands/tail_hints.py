"""What a tail asks for that is not in the store yet, and what may be meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from eskit.cli.commands.stream import nearest_hint
from eskit.cli.terminal.events import short_type
from eskit.domain.streams import category_of
from eskit.messaging.tail import is_of_type
from eskit.text.suggestions import find_nearest

if TYPE_CHECKING:
    from eskit.messaging.tail import TailRequest
    from eskit.store.eventstore import EventStore

_LOOKED_AT = 2_000


def hints(store: EventStore, request: TailRequest) -> Iterator[str]:
    """A sentence for each such name or position; it can still come."""
    yield from _hint_at_position(store, request)
    yield from _hint_at_stream(store, request)
    yield from _hint_at_aggregates(store, request)
    yield from _hint_at_types(store, request)


def _hint_at_position(store: EventStore, request: TailRequest) -> Iterator[str]:
    head = store.head_position()
    if request.after is not None and request.after > head:
        yield f"Nothing after {request.after:,} yet: the log ends at {head:,}"


def _hint_at_stream(store: EventStore, request: TailRequest) -> Iterator[str]:
    stream, tenants = request.stream, request.tenants
    if not stream or any(
        found.stream == stream and (not tenants or found.tenant in tenants)
        for found in store.list_streams(prefix=stream)
    ):
        return
    near = nearest_hint(store, stream, tenants[0] if tenants else "")
    yield f"No stream {stream} yet. {near}"


def _hint_at_aggregates(store: EventStore, request: TailRequest) -> Iterator[str]:
    missing = [
        name
        for name in request.aggregates
        if not any(store.list_streams(prefix=f"{name}-", limit=1))
    ]
    if missing:
        known = {category_of(found.stream) for found in store.list_streams(limit=_LOOKED_AT)}
        for name in missing:
            yield f"No aggregate {name} yet.{_did_you_mean(name, known)}"


def _hint_at_types(store: EventStore, request: TailRequest) -> Iterator[str]:
    known = store.list_event_types() if request.event_types else []
    for name in request.event_types:
        if not any(is_of_type(event_type, name) for event_type in known):
            spelled = known if "." in name else [short_type(event_type) for event_type in known]
            yield f"No event of type {name} yet.{_did_you_mean(name, set(spelled))}"


def _did_you_mean(name: str, known: set[str]) -> str:
    nearest = find_nearest(name, sorted(known))
    return f" Did you mean {nearest}?" if nearest else ""
