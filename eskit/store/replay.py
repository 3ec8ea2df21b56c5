"""A stream event by event, with the state after each and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eskit.domain.aggregate import AnyAggregate, fold_event
from eskit.domain.events import RecordedEvent
from eskit.domain.streams import category_of, id_of
from eskit.domain.upcasting import Upcasters
from eskit.errors import InvalidArgument, StreamNotFound
from eskit.schema.jsonmap import to_dict
from eskit.store.eventstore import EventStore
from eskit.store.repository import microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One value of the state that an event changed.

    `path` is dotted, with numbers for places in a list: ``limits.0.amount``. None stands for
    a value that is not there.
    """

    path: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """One event, the state after it as plain JSON values, and what it changed."""

    event: RecordedEvent
    version: int
    state: dict[str, Any]
    changes: list[Change]


def replay(
    store: EventStore,
    aggregate_class: type[AnyAggregate],
    stream: str,
    *,
    upcasters: Upcasters | None = None,
    to_version: int | None = None,
    at: datetime | None = None,
    tenant: str = "",
) -> Iterator[ReplayStep]:
    """Fold a stream as the application does, and show every step.

    `to_version` and `at` name the last version and the last moment shown, both included.
    Raises StreamNotFound for a stream without events, and InvalidArgument for a stream of
    another aggregate type.
    """
    if category_of(stream) != aggregate_class.__aggregate__.name:
        raise InvalidArgument(
            f"{stream} is not a stream of {aggregate_class.__aggregate__.name}",
            hint="Choose the aggregate class that the stream is named after.",
        )
    if to_version is not None and to_version < 1:
        raise InvalidArgument(
            f"There is no version {to_version}", hint="The first event has version 1."
        )
    latest = None if at is None else microseconds(at)
    if not store.stream_version(stream, tenant):
        raise StreamNotFound(stream)
    events = store.read_stream(
        stream, before=None if to_version is None else to_version + 1, tenant=tenant
    )
    return _steps(aggregate_class(id_of(stream)), events, upcasters, latest)


def _steps(
    aggregate: AnyAggregate,
    events: Iterator[RecordedEvent],
    upcasters: Upcasters | None,
    latest: int | None,
) -> Iterator[ReplayStep]:
    state = to_dict(aggregate.state)
    for event in events:
        if latest is not None and microseconds(event.recorded_at) > latest:
            return
        fold_event(aggregate, event, upcasters)
        old, state = state, to_dict(aggregate.state)
        yield ReplayStep(
            event=event,
            version=aggregate.version,
            state=state,
            changes=list(find_changes(old, state)),
        )


def find_changes(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """What differs between two JSON values, in the order of their fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from find_changes(old.get(key), new.get(key), _join(path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from find_changes(_item(old, index), _item(new, index), _join(path, str(index)))
    elif old != new:
        yield Change(path=path, old=old, new=new)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _item(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None
