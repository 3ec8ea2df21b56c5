"""Followed events on screen: one line each, or a block each."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

from eskit.cli.conditions import pick
from eskit.cli.events import Payload, event_object, format_fields, short_type
from eskit.cli.fitting import Narrowing
from eskit.cli.text import Line, Span, count
from eskit.cli.times import Clock, format_clock
from eskit.cli.values import leaves
from eskit.domain.streams import category_of, id_of

if TYPE_CHECKING:
    from eskit.domain.events import RecordedEvent

_COLOURS = 5
_STREAM = 2
"""Which span of a heading is the stream's name."""


@dataclass(slots=True)
class Seen:
    """What has been shown so far."""

    events: int = 0
    position: int = 0
    at: datetime | None = None

    def add(self, event: RecordedEvent) -> None:
        """Count one more."""
        self.events += 1
        self.position, self.at = event.global_position, event.recorded_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How an event is shown: its clock, which fields, on one line or more, decoded or not.

    `prefix` is what a line begins with. On a narrow terminal the stream's name is cut before the
    event's type is.
    """

    clock: Clock = Clock.DELTA
    fields: Sequence[str] = ()
    expanded: bool = False
    raw: bool = False
    prefix: Sequence[Span] = ()

    def record(self, event: RecordedEvent, payload: Payload) -> dict[str, object]:
        """The event as --json shows it."""
        found = event_object(event, payload)
        if self.raw:
            found.pop("data", None)
            found.pop("diagnostics", None)
            found["data_base64"] = base64.b64encode(event.data).decode("ascii")
        elif self.fields and payload.problem is None:
            found["data"] = pick(payload.data or {}, self.fields)
        return found

    def lines(
        self, event: RecordedEvent, payload: Payload, previous: datetime | None
    ) -> Iterator[Line]:
        """The event for people."""
        shown = self._chosen(payload)
        heading = [*self.prefix, *self._heading(event, previous)]
        gives, until = len(self.prefix) + _STREAM, len(heading)
        if not self.expanded:
            line = [*heading, *self._fields_in_line(event, shown)]
            yield Narrowing(line, gives=gives, until=until)
            return
        yield Narrowing(heading, gives=gives, until=until)
        yield from self._origin(event)
        if self.raw:
            yield ["       ", _base64(event.data)]
        else:
            yield from format_fields(shown, len(event.data))
        yield ""

    def _chosen(self, payload: Payload) -> Payload:
        if not self.fields or payload.problem is not None:
            return payload
        return Payload(data=pick(payload.data or {}, self.fields), descriptor=payload.descriptor)

    def _heading(self, event: RecordedEvent, previous: datetime | None) -> list[Span]:
        category = category_of(event.stream)
        tenant: list[Span] = ["  ", (f"[{event.tenant}]", "dim")] if event.tenant else []
        return [
            (format_clock(event.recorded_at, previous, self.clock), "dim"),
            f"  {event.global_position:>7,}  ",
            (f"{event.stream:<16}", f"aggregate{crc32(category.encode()) % _COLOURS}"),
            "  ",
            (f"{short_type(event.event_type):<16}", "key"),
            *tenant,
        ]

    def _fields_in_line(self, event: RecordedEvent, payload: Payload) -> Iterator[Span]:
        if self.raw:
            yield from ("  ", _base64(event.data))
            return
        if event.erased:
            yield "  erased"
            return
        if payload.problem is not None:
            yield from ("  ", (f"{len(event.data):,} bytes, not decoded", "warning"))
            return
        known = f'"{id_of(event.stream)}"'
        fields = leaves(payload.data or {}, payload.descriptor, unset=bool(self.fields))
        for name, value in fields:
            if value == known and not self.fields:
                continue  # it stands in the stream's name
            yield from ("  ", (name, "dim"), f" {value}")

    def _origin(self, event: RecordedEvent) -> Iterator[Line]:
        metadata = event.metadata
        pairs: dict[str, Any] = {
            "version": event.version,
            "event id": event.event_id,
            "by": metadata.principal_id,
            "correlation": metadata.correlation_id,
            "caused by": metadata.causation_id,
            **metadata.custom,
        }
        shown = [(name, str(value)) for name, value in pairs.items() if value]
        longest = max(len(name) for name, _ in shown)
        yield from ([(f"       {name:<{longest}}  {value}", "dim")] for name, value in shown)


def format_end(seen: Seen) -> Line:
    """What was seen, and how to go on from there."""
    if not seen.events:
        return "no events"
    return [
        f"{count(seen.events, 'event')} · last {seen.position:,} · go on with: ",
        (f"eskit tail --after {seen.position}", "command"),
    ]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
