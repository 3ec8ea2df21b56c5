"""Events on screen and as JSON objects; used by every command that shows events."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from eskit.cli.terminal.text import Line, Span, timestamp
from eskit.cli.terminal.values import descriptor_of, leaves
from eskit.errors import EskitError, UnknownEventType
from eskit.raised import error_line

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from eskit.domain.events import Metadata, RecordedEvent
    from eskit.project.layout import Project

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


class Decoder(Protocol):
    """Decodes payloads by the schemas it knows."""

    def decode(self, event: RecordedEvent) -> Message:
        """The payload; an EskitError where it cannot be read."""

    def find_type(self, full_name: str) -> type[Message] | None:
        """The class of a message that an Any holds; None for one it does not know."""


class PayloadReader:
    """Decodes payloads: each of `decoders` is tried in turn; the last payload is kept.

    What one does not know within a payload, such as what an Any holds and extensions that are
    declared in another file, is looked for in the others.
    """

    def __init__(self, *decoders: Decoder) -> None:
        from eskit.schema.jsonmap import to_dict
        from eskit.schema.pools import is_extendable

        self._decoders = decoders
        self._to_dict = to_dict
        self._is_extendable = is_extendable
        self._last: tuple[RecordedEvent, Payload] | None = None

    def __call__(self, event: RecordedEvent) -> Payload:
        """Decode the payload; a type or bytes that cannot be read are told, never fatal."""
        last = self._last
        if last is None or last[0] is not event:
            last = self._last = (event, self._read(event))
        return last[1]

    def _read(self, event: RecordedEvent) -> Payload:
        problem: EskitError | None = None
        for index, decoder in enumerate(self._decoders):
            try:
                message = decoder.decode(event)
            except EskitError as error:
                problem = error
                continue
            descriptor = descriptor_of(type(message))
            data = self._to_dict(message, find_type=self._find_type)
            if self._is_extendable(descriptor):
                for other in self._decoders[index + 1 :]:
                    with suppress(EskitError):
                        found = self._to_dict(other.decode(event), find_type=self._find_type)
                        data = with_extensions(data, found)
            return Payload(data, descriptor=descriptor)
        return Payload(data=None, problem=problem)

    def _find_type(self, full_name: str) -> type[Message] | None:
        found = (decoder.find_type(full_name) for decoder in self._decoders)
        return next((kind for kind in found if kind is not None), None)


def with_extensions(data: Any, other: Any) -> Any:
    """`data` with the extensions that `other`, the same message by another schema, has besides."""
    if isinstance(data, dict) and isinstance(other, dict):
        merged = {key: with_extensions(value, other.get(key)) for key, value in data.items()}
        return merged | {
            key: value for key, value in other.items() if key not in data and key.startswith("[")
        }
    if isinstance(data, list) and isinstance(other, list) and len(data) == len(other):
        return [with_extensions(*pair) for pair in zip(data, other, strict=True)]
    return data


class GeneratedTypes:
    """Decodes with the project's generated code, which `load` imports when it is first needed."""

    def __init__(self, load: Callable[[], None]) -> None:
        self._load: Callable[[], None] | None = load

    def decode(self, event: RecordedEvent) -> Message:
        """The payload as the class of its event type."""
        if not event.erased:
            self._load_once()
        return event.message

    def find_type(self, full_name: str) -> type[Message] | None:
        """Any message of the generated code."""
        from eskit.domain.messages import message_class

        self._load_once()
        try:
            return message_class(full_name)
        except UnknownEventType:
            return None

    def _load_once(self) -> None:
        if self._load is not None:
            load, self._load = self._load, None
            load()


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
    diagnostic = {
        "severity": "warning",
        "code": payload.problem.code,
        "message": payload.problem.message,
        "hint": payload.problem.hint,
    }
    data = base64.b64encode(event.data).decode("ascii")
    return {**found, "data_base64": data, "diagnostics": [diagnostic]}


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
