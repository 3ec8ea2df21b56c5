"""What there is to write in the stub of a pb2 module, as its template sees it.

There is a value for every field of every proto: named tuples are made in half the time of
dataclasses.
"""

from __future__ import annotations

import keyword
from typing import NamedTuple

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from eskit.codegen.python.imports import Import

# What stubs import, by the names that the template gives it.
IMPORTED = frozenset(
    {
        "_abc",
        "_b",
        "_containers",
        "_datetime",
        "_descriptor",
        "_enums",
        "_extensions",
        "_message",
        "_t",
    }
)
# Names that would take the place of something else: in a module, in a message, on an enum.
_OF_MODULES = frozenset({"DESCRIPTOR", *IMPORTED})
OF_MESSAGES = frozenset({*dir(Message), "Extensions", *IMPORTED})
_OF_ENUMS = frozenset({*dir(EnumTypeWrapper), "ValueType"})
# Names that a field cannot be written by: the constructor has two of its own.
_OF_FIELDS = OF_MESSAGES | {"_self", "_fields"}


class StubField(NamedTuple):
    """One field: its type when read, and what the constructor accepts for it."""

    name: str
    number_name: str
    type: str
    accepted: str
    settable: bool
    presence: bool
    doc: str

    @property
    def is_hidden(self) -> bool:
        """Whether it can only be reached with getattr, and set by ``**{...}``."""
        return keyword.iskeyword(self.name) or self.name in _OF_FIELDS


class StubOneof(NamedTuple):
    """A oneof and the fields in it."""

    name: str
    fields: tuple[str, ...]


class StubValue(NamedTuple):
    """One value of an enum, which is also a constant of the module or message beside it."""

    name: str
    nested: bool
    doc: str

    @property
    def on_enum(self) -> bool:
        """Whether the enum has it as an attribute; else it is ``Enum.Value("name")``."""
        return self.name not in _OF_ENUMS

    @property
    def beside(self) -> bool:
        """Whether the module or message has it as a constant."""
        return self.name not in (OF_MESSAGES if self.nested else _OF_MODULES)


class StubEnum(NamedTuple):
    """One enum; `path` is its name from the module's top, as its class body can write it.

    Its holder, `hidden` from the module's top, has the type of the values; the wrapper is its
    metaclass. Of one that cannot be reached, `path` is the holder.
    """

    name: str
    path: str
    holder: str
    wrapper: str
    hidden: str
    is_reachable: bool
    values: tuple[StubValue, ...]
    doc: str


class StubExtension(NamedTuple):
    """An extension of a message of another file."""

    name: str
    extended: str
    type: str
    number_name: str


class StubMessage(NamedTuple):
    """One message with everything inside it."""

    name: str
    enums: tuple[StubEnum, ...]
    messages: tuple[StubMessage, ...]
    extensions: tuple[StubExtension, ...]
    fields: tuple[StubField, ...]
    oneofs: tuple[StubOneof, ...]
    doc: str

    @property
    def plain_fields(self) -> list[StubField]:
        """Fields that can be written as attributes and arguments."""
        return [field for field in self.fields if not field.is_hidden]

    @property
    def hidden_fields(self) -> list[str]:
        """What the constructor accepts for the other fields."""
        return sorted({field.accepted for field in self.fields if field.is_hidden})

    @property
    def nested_names(self) -> set[str]:
        """The messages in it: at run time they take the place of methods that are called so."""
        return {nested.name for nested in self.messages}

    @property
    def overrides(self) -> bool:
        """Whether a message in it, or further in, takes the place of a method."""
        return bool(self.nested_names & OF_MESSAGES) or any(m.overrides for m in self.messages)

    @property
    def with_presence(self) -> list[str]:
        """What HasField can be asked about."""
        fields = [field.name for field in self.fields if field.presence]
        return [*fields, *(oneof.name for oneof in self.oneofs)]

    @property
    def clearable(self) -> list[str]:
        """What ClearField can clear."""
        return [*(field.name for field in self.fields), *(oneof.name for oneof in self.oneofs)]


class StubModule(NamedTuple):
    """One module's stub."""

    imports: tuple[Import, ...]
    public: tuple[tuple[str, tuple[str, ...]], ...]
    enums: tuple[StubEnum, ...]
    messages: tuple[StubMessage, ...]
    extensions: tuple[StubExtension, ...]
    shadowed: tuple[str, ...]
    uses: frozenset[str]

    @property
    def overrides(self) -> bool:
        """Whether a message takes the place of a method that every message has."""
        return any(message.overrides for message in self.messages)
