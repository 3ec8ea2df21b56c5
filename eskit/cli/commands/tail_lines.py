"""Followed events on screen: one line each, or a block each."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

from eskit.cli.commands.conditions import pick
from eskit.cli.terminal.events import format_fields, short_type
from eskit.cli.terminal.text import Line, Span, padded, width
from eskit.cli.terminal.times import TimeStyle, format_clock
from eskit.cli.terminal.values import format_value, leaves
from eskit.cli.terminal.wrapping import Narrowing
from eskit.codegen.python.names import snake_case
from eskit.domain.streams import category_of, id_of
from eskit.reports.events import event_object
from eskit.reports.payloads import Payload
from eskit.schema.paths import find_value
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.domain.events import RecordedEvent

_COLOURS = 5
_WIDEST = 36
"""A longer name pushes what follows it."""
_STREAM = 2
"""Which span of a heading is the stream's name."""


@dataclass(slots=True)
class Seen:
    """What has been shown so far."""

    events: int = 0
    last: RecordedEvent | None = None

    def add(self, event: RecordedEvent) -> None:
        """Count one more."""
        self.events += 1
        self.last = event

    @property
    def position(self) -> int:
        """Where the last one stands; 0 before the first."""
        return self.last.global_position if self.last is not None else 0

    @property
    def at(self) -> datetime | None:
        """When the last one was recorded."""
        return self.last.recorded_at if self.last is not None else None


@dataclass(slots=True)
class Widths:
    """How wide the columns of streams and types are: as wide as what they have shown, to a bound.

    Lines already shown stay as they are, and those that follow line up again.
    """

    stream: int = 16
    type: int = 16

    def grow(self, stream: str, event_type: str) -> None:
        """Make room for what comes next."""
        self.stream = max(self.stream, min(width(stream), _WIDEST))
        self.type = max(self.type, min(width(event_type), _WIDEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How an event is shown: its clock, which fields, on one line or more, decoded or not.

    `prefix` is what a line begins with. On a narrow terminal the stream's name is cut before the
    event's type is.
    """

    clock: TimeStyle = TimeStyle.DELTA
    fields: Sequence[str] = ()
    expanded: bool = False
    raw: bool = False
    prefix: Sequence[Span] = ()
    widths: Widths = field(default_factory=Widths, compare=False)

    def record(self, event: RecordedEvent, payload: Payload) -> dict[str, object]:
        """The event as --json shows it."""
        found = event_object(event, payload)
        if self.raw:
            found.pop("data", None)
            found.pop("diagnostics", None)
            found["data_base64"] = base64.b64encode(event.data).decode("ascii")
        elif self.fields and payload.problem is None:
            found["data"] = pick(payload.data or {}, payload.descriptor, self.fields)
        return found

    def lines(
        self, event: RecordedEvent, payload: Payload, previous: datetime | None
    ) -> Iterator[Line]:
        """The event for people."""
        heading = [*self.prefix, *self._heading(event, previous)]
        gives, until = len(self.prefix) + _STREAM, len(heading)
        if not self.expanded:
            line = [*heading, *self._fields_in_line(event, payload)]
            yield Narrowing(line, gives=gives, until=until)
            return
        yield Narrowing(heading, gives=gives, until=until)
        yield from self._origin(event)
        if self.raw:
            yield ["       ", _base64(event.data)]
        else:
            yield from format_fields(payload, len(event.data), self._leaves(payload))
        yield ""

    def _leaves(self, payload: Payload) -> Iterator[tuple[str, str]]:
        """Path and value of every field that is shown."""
        data, shape = {} if payload.data is None else payload.data, payload.descriptor
        if not self.fields:
            yield from leaves(data, shape)
        for path in self.fields:
            found = find_value(data, shape, path)
            if found is None:
                continue
            if isinstance(found.value, dict):
                yield from leaves(found.value, found.field, unset=True, path=path)
            else:
                yield path, format_value(found.value, found.field)

    def _heading(self, event: RecordedEvent, previous: datetime | None) -> list[Span]:
        category, shown_type = category_of(event.stream), short_type(event.event_type)
        self.widths.grow(event.stream, shown_type)
        tenant: list[Span] = ["  ", (f"[{event.tenant}]", "dim")] if event.tenant else []
        return [
            (format_clock(event.recorded_at, previous, self.clock), "dim"),
            f"  {event.global_position:>7,}  ",
            (
                padded(event.stream, self.widths.stream),
                f"aggregate{crc32(category.encode()) % _COLOURS}",
            ),
            "  ",
            (padded(shown_type, self.widths.type), "key"),
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
        known = _id_field(event.stream), f'"{id_of(event.stream)}"'
        for name, value in self._leaves(payload):
            if (name, value) == known and not self.fields:
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
    """What was seen, and how to continue from there."""
    if not seen.events:
        return "no events"
    return [
        f"{count(seen.events, 'event')} · last {seen.position:,} · continue with: ",
        (f"eskit tail --after {seen.position}", "command"),
    ]


def _id_field(stream: str) -> str:
    """The field that repeats the stream's id by convention: ``account_id`` of ``Account-1``."""
    return f"{snake_case(category_of(stream))}_id"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
