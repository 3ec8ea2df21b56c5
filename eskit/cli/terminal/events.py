"""Events on screen; used by every command that shows events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.values import leaves

if TYPE_CHECKING:
    from eskit.domain.events import Metadata, RecordedEvent
    from eskit.reports.payloads import Payload

_TYPE_WIDTH = 16
Fields: TypeAlias = Iterable[tuple[str, str]]
"""Paths and values as they are shown."""


def short_type(event_type: str) -> str:
    """``account.v1.AccountOpenedEvent`` as ``AccountOpened``."""
    name = event_type.rpartition(".")[2]
    return name.removesuffix("Event") or name


def format_heading(event: RecordedEvent, when: str) -> Line:
    """Version, type, time and, where known, who: the first line of an event's block."""
    line: list[Span] = [
        f"{event.version:>3}  ",
        (short_type(event.event_type).ljust(_TYPE_WIDTH), "name"),
        "  ",
        (when, "dim"),
    ]
    if who := format_origin(event.metadata):
        line += ["  ", (who, "dim")]
    return line


def format_origin(metadata: Metadata) -> str:
    """Who was behind it, if anybody is named."""
    return f"by {metadata.principal_id}" if metadata.principal_id else ""


def format_fields(payload: Payload, size: int, fields: Fields | None = None) -> Iterator[Line]:
    """The payload's fields, one a line; how many bytes there are when it cannot be read.

    `fields` are those to show, path and value; by default those that are set.
    """
    if payload.problem is not None:
        yield [("       ", ""), (f"{payload.problem.message} ({size:,} bytes)", "warning")]
        return
    if fields is None:
        fields = leaves({} if payload.data is None else payload.data, payload.descriptor)
    shown = list(fields)
    longest = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        yield ["       ", (name.ljust(longest), "key"), "  ", value]
