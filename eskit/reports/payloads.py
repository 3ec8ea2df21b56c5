"""What the bytes of events say, by the schemas of the store, of a file or of generated code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from eskit.errors import EskitError, UnknownEventType
from eskit.raised import error_line
from eskit.schema.pools import descriptor_of

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

    from eskit.domain.events import RecordedEvent
    from eskit.project.layout import Project
    from eskit.store.eventstore import EventStore


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
    """Decodes payloads: each of `decoders` is tried in turn.

    What one does not know within a payload, such as what an Any holds and extensions that are
    declared in another file, is looked for in the others.
    """

    def __init__(self, *decoders: Decoder) -> None:
        from eskit.schema.jsonmap import to_dict
        from eskit.schema.pools import is_extendable

        self._decoders = decoders
        self._to_dict = to_dict
        self._is_extendable = is_extendable

    def __call__(self, event: RecordedEvent) -> Payload:
        """Decode the payload; a type or bytes that cannot be read are told, never fatal."""
        problem: EskitError | None = None
        for index, decoder in enumerate(self._decoders):
            try:
                message = decoder.decode(event)
            except EskitError as error:
                problem = error
                continue
            descriptor = descriptor_of(type(message))
            data = self._to_dict(message, find_type=self._find_type)
            others = self._decoders[index + 1 :]
            if others and self._is_extendable(descriptor):
                for other in others:
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


def stored_schemas(store: EventStore) -> Decoder:
    """Decodes events as they were written, by the schemas of a store."""
    from eskit.store.decoding import EventDecoder

    return EventDecoder(store)


def descriptor_set(path: Path) -> Decoder:
    """Decodes events by a serialised FileDescriptorSet; InvalidArgument for what is none."""
    from eskit.schema.recorded import MessageSet, read_descriptor_set

    return MessageSet(read_descriptor_set(path))
