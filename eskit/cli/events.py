"""Events on screen and as JSON objects; used by every command that shows events."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from eskit.cli.text import Line, Span, timestamp
from eskit.cli.values import descriptor_of, leaves
from eskit.errors import EskitError
from eskit.raised import error_line

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from eskit.domain.events import Metadata, RecordedEvent
    from eskit.project import Project

_TYPE_WIDTH = 16
Fields: TypeAlias = Iterable[tuple[str, str]]
"""Paths and values as they are shown."""


class Payload(NamedTuple):
    """What an event's bytes say, or why they could not be read."""

    data: dict[str, Any] | None
    descriptor: Descriptor | None = None
    problem: EskitError | None = None


def load_event_types(project: Project | None) -> list[str]:
    """Import the project's generated messages; returns what could not be imported and why."""
    if project is None or not project.gen_path.is_dir():
        return []
    problems = []
    for path in project.import_paths():
        if not project.gen_path.is_relative_to(path):
            continue
        for file in sorted(project.gen_path.rglob("*_pb2.py")):
            module = ".".join(file.relative_to(path).with_suffix("").parts)
            try:
                importlib.import_module(module)
            except Exception as error:  # noqa: BLE001  # user code: its events show undecoded
                problems.append(f"{module}: {error_line(error)}")
    return problems


class PayloadReader:
    """Decodes payloads: each of `decoders` is tried in turn; the last payload is kept."""

    def __init__(self, *decoders: Callable[[RecordedEvent], Message]) -> None:
        from eskit.schema.jsonmap import to_dict

        self._decoders = decoders
        self._to_dict = to_dict
        self._last: tuple[RecordedEvent, Payload] | None = None

    def __call__(self, event: RecordedEvent) -> Payload:
        """Decode the payload; a type or bytes that cannot be read are told, never fatal."""
        last = self._last
        if last is None or last[0] is not event:
            last = self._last = (event, self._read(event))
        return last[1]

    def _read(self, event: RecordedEvent) -> Payload:
        problem: EskitError | None = None
        for decode in self._decoders:
            try:
                message = decode(event)
                return Payload(self._to_dict(message), descriptor=descriptor_of(type(message)))
            except EskitError as error:
                problem = error
        return Payload(data=None, problem=problem)


class GeneratedTypes:
    """Decodes with the project's generated code, which `load` imports when it is first needed."""

    def __init__(self, load: Callable[[], None]) -> None:
        self._load: Callable[[], None] | None = load

    def __call__(self, event: RecordedEvent) -> Message:
        """The payload as the class of its event type."""
        if self._load is not None and not event.erased:
            load, self._load = self._load, None
            load()
        return event.message


def event_object(event: RecordedEvent, payload: Payload) -> dict[str, object]:
    """The event as --json shows it."""
    found: dict[str, object] = {
        "global_position": event.global_position,
        "stream": event.stream,
        "version": event.version,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "recorded_at": timestamp(event.recorded_at),
        "tenant": event.tenant,
        "metadata": metadata_object(event.metadata),
    }
    if payload.problem is None:
        found["data"] = payload.data
        return found
    data = base64.b64encode(event.data).decode("ascii")
    return {**found, "data_base64": data, "diagnostics": [diagnostic_object(payload.problem)]}


def diagnostic_object(problem: EskitError) -> dict[str, object]:
    """Why something is not shown, as --json says it beside what is."""
    return {
        "severity": "warning",
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
    }


def metadata_object(metadata: Metadata) -> dict[str, object]:
    """Metadata with every key, set or not."""
    return {
        "correlation_id": metadata.correlation_id,
        "causation_id": metadata.causation_id,
        "command_id": metadata.command_id,
        "principal_id": metadata.principal_id,
        "custom": dict(metadata.custom),
    }


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

    `fields` are those to show, path and value; by default those that somebody set.
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
