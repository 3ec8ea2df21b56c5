"""A small aggregate for tests of the domain and the store, without generated code."""

from __future__ import annotations

from typing import Any, ClassVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.claims import claim, release
from eskit.domain.upcasting import Upcasters, upcast
from eskit.errors import CommandRejected

_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_NUMBER = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


def _define() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/ledger/v1/ledger.proto", package="tests.ledger.v1", syntax="proto3"
    )
    messages = {
        "Limit": [("amount", _NUMBER)],
        "Ledger": [("owner", _TEXT), ("balance", _NUMBER), ("limit", _MESSAGE), ("notes", _TEXT)],
        "OpenedEvent": [("owner", _TEXT)],
        "OpenedEventV1": [("name", _TEXT)],
        "DepositedEvent": [("amount", _NUMBER)],
        "LimitedEvent": [("amount", _NUMBER)],
        "ClosedEvent": [],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, start=1):
            message.field.add(
                name=field,
                number=number,
                type=kind,
                type_name=".tests.ledger.v1.Limit" if kind == _MESSAGE else None,
                label=3 if field == "notes" else 1,
            )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    classes = message_factory.GetMessageClassesForFiles([file.name], descriptor_pool.Default())
    return {name: classes[f"{file.package}.{name}"] for name in messages}


_messages = _define()
LedgerState: Any = _messages["Ledger"]
OpenedEvent: Any = _messages["OpenedEvent"]
OpenedEventV1: Any = _messages["OpenedEventV1"]
DepositedEvent: Any = _messages["DepositedEvent"]
LimitedEvent: Any = _messages["LimitedEvent"]
ClosedEvent: Any = _messages["ClosedEvent"]


class Ledger(Aggregate[Any, Any]):
    """Written as generated code and a user would."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Ledger",
        state=LedgerState,
        id_field="owner",
        commands=(),
        events=(
            EventMethod(event=OpenedEvent, python_name="on_opened"),
            EventMethod(event=DepositedEvent, python_name="on_deposited"),
            EventMethod(event=LimitedEvent, python_name="on_limited"),
            EventMethod(event=ClosedEvent, python_name="on_closed"),
        ),
    )

    def open(self, owner: str) -> None:
        self.emit(OpenedEvent(owner=owner), claim("owner", owner))

    def deposit(self, amount: int) -> None:
        if self.state.limit.amount and self.state.balance + amount > self.state.limit.amount:
            raise CommandRejected("OVER_LIMIT", "More than the limit")
        self.emit(DepositedEvent(amount=amount), custom={"via": "test"})

    def limit(self, amount: int) -> None:
        self.emit(LimitedEvent(amount=amount))

    def close(self) -> None:
        self.emit(ClosedEvent(), release("owner", self.state.owner))

    def on_opened(self, event: Any) -> None:
        self.state.owner = event.owner

    def on_deposited(self, event: Any) -> None:
        self.state.balance += event.amount
        self.state.notes.append(f"{event.amount} at {self.version + 1}")

    def on_limited(self, event: Any) -> None:
        self.state.limit.amount = event.amount

    def on_closed(self, event: Any) -> None:
        self.state.owner = ""


@upcast(OpenedEventV1, to=OpenedEvent)
def opened_v1(event: Any) -> Any:
    return OpenedEvent(owner=event.name.title())


UPCASTERS = Upcasters([opened_v1])
