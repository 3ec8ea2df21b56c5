"""A small aggregate with commands, without generated code, for tests of given, when, then."""

from __future__ import annotations

from typing import Any, ClassVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.claims import claim
from eskit.domain.services import Method
from eskit.domain.upcasting import upcast
from eskit.errors import CommandRejected

_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_NUMBER = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_PACKAGE = "tests.counter.v1"

_MESSAGES = {
    "Counter": [("counter_id", _TEXT), ("total", _NUMBER), ("changed_at", _NUMBER)],
    "Add": [("counter_id", _TEXT), ("number", _NUMBER)],
    "Create": [("number", _NUMBER)],
    "Bump": [("counter_id", _TEXT)],
    "Repair": [("counter_id", _TEXT)],
    "Reply": [("counter_id", _TEXT), ("total", _NUMBER)],
    "AddedEvent": [("number", _NUMBER)],
    "AddedEventV1": [("text", _TEXT)],
    "Other": [],
}


def _define() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/counter/v1/counter.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, start=1):
            message.field.add(name=field, number=number, type=kind, label=1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    classes = message_factory.GetMessageClassesForFiles([file.name], descriptor_pool.Default())
    return {name: classes[f"{_PACKAGE}.{name}"] for name in _MESSAGES}


_classes = _define()
Add: Any = _classes["Add"]
AddedEvent: Any = _classes["AddedEvent"]
AddedEventV1: Any = _classes["AddedEventV1"]
Bump: Any = _classes["Bump"]
Create: Any = _classes["Create"]
Other: Any = _classes["Other"]
Repair: Any = _classes["Repair"]
Reply: Any = _classes["Reply"]
State: Any = _classes["Counter"]


def _rpc(name: str, python_name: str, request: type[Message]) -> Method:
    return Method(
        service=f"{_PACKAGE}.CounterCommandService",
        name=name,
        python_name=python_name,
        kind="command",
        request=request,
        response=Reply,
    )


class Counter(Aggregate[Any, Any]):
    """Adds numbers up to 100."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Counter",
        state=State,
        id_field="counter_id",
        commands=(
            _rpc("Add", "add", Add),
            _rpc("Create", "create", Create),
            _rpc("BumpOnce", "bump_once", Bump),
            _rpc("BumpTwice", "bump_twice", Bump),
            _rpc("Repair", "repair", Repair),
        ),
        events=(EventMethod(event=AddedEvent, python_name="on_added"),),
    )

    def add(self, command: Any) -> Any:
        if self.state.total + command.number > 100:
            raise CommandRejected("TOO_MUCH", "More than 100", solution="Add less.")
        if command.number:
            self.emit(AddedEvent(number=command.number), claim("number", str(command.number)))
        return Reply(counter_id=self.id, total=self.state.total)

    def create(self, command: Any) -> Any:
        return self.add(command)

    def bump_once(self, _: Any) -> Any:
        return self.add(Add(number=1))

    def bump_twice(self, command: Any) -> Any:
        self.bump_once(command)
        return self.bump_once(command)

    def repair(self, command: Any) -> Any:
        """Wrong: what it does to the state is in no event."""
        self.state.total = 0
        return Reply(counter_id=command.counter_id)

    def on_added(self, event: Any) -> None:
        self.state.counter_id = self.id
        self.state.total += event.number
        self.state.changed_at = int(self.context.now.timestamp())


@upcast(AddedEventV1, to=AddedEvent)
def added_v1(event: Any) -> Any:
    return AddedEvent(number=int(event.text))
