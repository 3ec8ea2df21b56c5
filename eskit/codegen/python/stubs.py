"""What the ``.pyi`` of a pb2 module says, from its descriptors.

protoc's own stubs fail mypy's strict mode, take no keyword fields and know neither which fields
have presence nor what constructors accept. Every builtin stands behind a private alias, because
fields may be called ``int`` or ``list``.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    OneofDescriptor,
)

from eskit.codegen.python import names
from eskit.codegen.python.imports import Modules, aliased
from eskit.codegen.python.stub_parts import (
    IMPORTED,
    OF_MESSAGES,
    StubEnum,
    StubExtension,
    StubField,
    StubMessage,
    StubModule,
    StubOneof,
    StubValue,
)
from eskit.codegen.reading.locate import Locator, PathInFile

_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: "_b.int",
    FieldDescriptor.CPPTYPE_INT64: "_b.int",
    FieldDescriptor.CPPTYPE_UINT32: "_b.int",
    FieldDescriptor.CPPTYPE_UINT64: "_b.int",
    FieldDescriptor.CPPTYPE_DOUBLE: "_b.float",
    FieldDescriptor.CPPTYPE_FLOAT: "_b.float",
    FieldDescriptor.CPPTYPE_BOOL: "_b.bool",
}
# What constructors accept for a field of a well-known type besides the message and a mapping.
_CONVENIENT = {
    "google.protobuf.Timestamp": "_datetime.datetime",
    "google.protobuf.Duration": "_datetime.timedelta",
    "google.protobuf.ListValue": "_abc.Sequence[_t.Any]",
}
# How a type names what it is imported from.
_QUALIFIER = re.compile(r"(?<!\w)_\w+(?=\.)")
_MESSAGES, _ENUMS = 4, 5
_FIELDS, _NESTED, _NESTED_ENUMS, _VALUES = 2, 3, 4, 2


def stub_module(file: FileDescriptor, modules: Modules, locator: Locator) -> StubModule:
    """Describe the module of `file`."""
    return _Stub(file, modules, locator).module()


class _Stub:
    def __init__(self, file: FileDescriptor, modules: Modules, locator: Locator) -> None:
        self._file = file
        self._modules = modules
        self._locator = locator
        self._imports = aliased(
            (name for name in _referenced(file) if name != file.name),
            modules,
            seen_from=file.name,
            private=True,
        )
        self._shadowed: set[str] = set()
        self._uses: set[str] = set()
        self._types_written: list[str] = []

    def module(self) -> StubModule:
        file = self._file
        enums = tuple(
            self._enum(enum, (_ENUMS, index), frozenset())
            for index, enum in enumerate(file.enum_types_by_name.values())
        )
        messages = tuple(
            self._message(message, (_MESSAGES, index))
            for index, message in enumerate(file.message_types_by_name.values())
        )
        extensions = tuple(
            self._extension(extension, frozenset())
            for extension in file.extensions_by_name.values()
        )
        return StubModule(
            imports=tuple(sorted(set(self._imports.values()))),
            public=tuple(self._public()),
            enums=enums,
            messages=messages,
            extensions=extensions,
            shadowed=tuple(sorted(self._shadowed)),
            uses=frozenset({*self._uses, *_QUALIFIER.findall("\n".join(self._types_written))}),
        )

    def _public(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Modules whose names this one offers, too: its public imports, and theirs.

        Of two that have one name the one imported last counts, and none against its own.
        """
        ahead = list(self._file.public_dependencies)
        taken = set(_offered(self._file))
        while ahead:
            file = ahead.pop()
            ahead.extend(file.public_dependencies)
            offered = tuple(name for name in _offered(file) if name not in taken)
            taken.update(offered)
            package, module = self._modules.locate(file.name, seen_from=self._file.name)
            if offered:
                yield f"{package}{'' if package.endswith('.') else '.'}{module}", offered

    def _message(self, message: Descriptor, place: PathInFile) -> StubMessage:
        scope = _scope(message)
        nested = [n for n in message.nested_types if not n.GetOptions().map_entry]
        if message.fields:
            self._uses |= {"_b", "_t"}
        return StubMessage(
            name=names.attribute(message.name),
            enums=tuple(
                self._enum(enum, (*place, _NESTED_ENUMS, index), scope)
                for index, enum in enumerate(message.enum_types)
            ),
            messages=tuple(
                self._message(inner, (*place, _NESTED, message.nested_types.index(inner)))
                for inner in nested
            ),
            extensions=tuple(self._extension(e, scope) for e in message.extensions),
            fields=tuple(
                self._field(field, (*place, _FIELDS, index), scope)
                for index, field in enumerate(message.fields)
            ),
            oneofs=tuple(_oneof(oneof) for oneof in message.oneofs if not _is_synthetic(oneof)),
            doc=self._locator.comment(place),
        )

    def _field(self, field: FieldDescriptor, place: PathInFile, scope: frozenset[str]) -> StubField:
        read, accepted = self._types(field, scope)
        found = StubField(
            name=field.name,
            number_name=f"{field.name.upper()}_FIELD_NUMBER",
            type=read,
            accepted=accepted,
            settable=not field.is_repeated and field.message_type is None,
            presence=field.has_presence,
            doc=self._locator.comment(place),
        )
        self._types_written += [accepted] if found.is_hidden else [read, accepted]
        return found

    def _types(self, field: FieldDescriptor, scope: frozenset[str]) -> tuple[str, str]:
        """The type of a field when read, and what a constructor accepts for it."""
        if not field.is_repeated:
            return self._value_types(field, scope)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            key_type = self._value_types(key, scope)[0]
            plain, accepted = self._value_types(value, scope)
            kind = "ScalarMap" if value.message_type is None else "MessageMap"
            read = f"_containers.{kind}[{key_type}, {plain}]"
            return read, f"_abc.Mapping[{key_type}, {accepted}]"
        plain, accepted = self._value_types(field, scope)
        scalar = field.message_type is None
        kind = "RepeatedScalarFieldContainer" if scalar else "RepeatedCompositeFieldContainer"
        return f"_containers.{kind}[{plain}]", f"_abc.Iterable[{accepted}]"

    def _value_types(self, field: FieldDescriptor, scope: frozenset[str]) -> tuple[str, str]:
        """The type of one value, and what a constructor accepts for it."""
        if field.enum_type is not None:
            kind = f"{self._enum_reference(field.enum_type, scope)}.ValueType"
            return kind, f"{kind} | _b.str"
        if field.message_type is not None:
            kind = self._reference(field.message_type, scope)
            accepted = f"{kind} | _abc.Mapping[_b.str, _t.Any]"
            more = _CONVENIENT.get(field.message_type.full_name)
            return kind, f"{accepted} | {more}" if more else accepted
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            kind = "_b.bytes" if field.type == FieldDescriptor.TYPE_BYTES else "_b.str"
            return kind, kind
        kind = _SCALARS[field.cpp_type]
        return kind, kind

    def _reference(self, kind: Descriptor | EnumDescriptor, scope: frozenset[str]) -> str:
        """How a class body whose names are `scope` refers to a message or enum."""
        path = _path(kind)
        if kind.file.name != self._file.name:
            return f"{self._imports[kind.file.name].name}.{path}"
        first, dot, rest = path.partition(".")
        if first in scope:
            self._shadowed.add(first)
            first = f"_Outer{first}"
        return f"{first}{dot}{rest}"

    def _enum_reference(self, enum: EnumDescriptor, scope: frozenset[str]) -> str:
        """How a class body refers to an enum, or to the holder of one that cannot be reached."""
        path = self._reference(enum, scope)
        if _is_reachable(enum):
            return path
        return f"{path.rpartition('.')[0]}.{_private_names(enum)[0]}"

    def _enum(self, enum: EnumDescriptor, place: PathInFile, scope: frozenset[str]) -> StubEnum:
        self._uses |= {"_b", "_enums", "_t"}
        outer, dot, _ = self._reference(enum, scope).rpartition(".")
        holder, wrapper = _private_names(enum)
        return StubEnum(
            name=names.attribute(enum.name),
            path=self._enum_reference(enum, scope),
            holder=holder,
            wrapper=wrapper,
            hidden=f"{outer}{dot}{holder}",
            is_reachable=_is_reachable(enum),
            values=tuple(
                StubValue(
                    name=value.name,
                    nested=enum.containing_type is not None,
                    doc=self._locator.comment((*place, _VALUES, index)),
                )
                for index, value in enumerate(enum.values)
                if not keyword.iskeyword(value.name)
            ),
            doc=self._locator.comment(place),
        )

    def _extension(self, extension: FieldDescriptor, scope: frozenset[str]) -> StubExtension:
        extended = extension.containing_type
        read, _ = self._types(extension, scope)
        self._uses |= {"_b", "_extensions"}
        self._types_written.append(read)
        return StubExtension(
            name=names.attribute(extension.name),
            extended=self._reference(extended, scope) if extended else "",
            type=read,
            number_name=f"{extension.name.upper()}_FIELD_NUMBER",
        )


def _offered(file: FileDescriptor) -> tuple[str, ...]:
    """The public names of a module."""
    found = [
        *map(names.attribute, file.enum_types_by_name),
        *(value.name for enum in file.enum_types_by_name.values() for value in enum.values),
        *map(names.attribute, file.message_types_by_name),
        *file.extensions_by_name,
        *(f"{name.upper()}_FIELD_NUMBER" for name in file.extensions_by_name),
    ]
    return tuple(name for name in found if not keyword.iskeyword(name))


def _referenced(file: FileDescriptor) -> set[str]:
    """The files whose messages and enums the stub names."""
    found: set[str] = set()
    fields = list(file.extensions_by_name.values())
    messages = list(file.message_types_by_name.values())
    while messages:
        message = messages.pop()
        messages.extend(message.nested_types)
        fields.extend(message.fields)
        fields.extend(message.extensions)
    for field in fields:
        if field.is_extension and field.containing_type is not None:
            found.add(field.containing_type.file.name)
        kind = field.message_type or field.enum_type
        if kind is not None:
            found.add(kind.file.name)
    return found


def _scope(message: Descriptor) -> frozenset[str]:
    """Names that the class body of a message defines."""
    return frozenset(
        [
            *(field.name for field in message.fields),
            *(names.attribute(nested.name) for nested in message.nested_types),
            *(names.attribute(enum.name) for enum in message.enum_types),
            *(value.name for enum in message.enum_types for value in enum.values),
            *(extension.name for extension in message.extensions),
        ]
    )


def _path(kind: Descriptor | EnumDescriptor) -> str:
    """``Outer.Inner`` within the module, keywords mended."""
    parts = [names.attribute(kind.name)]
    outer = kind.containing_type
    while outer is not None:
        parts.insert(0, names.attribute(outer.name))
        outer = outer.containing_type
    return ".".join(parts)


def _is_reachable(enum: EnumDescriptor) -> bool:
    """Whether it is an attribute at run time: what every message has comes before an enum."""
    return enum.containing_type is None or names.attribute(enum.name) not in OF_MESSAGES


def _private_names(enum: EnumDescriptor) -> tuple[str, str]:
    """The two classes behind an enum, called so that nothing beside it has their names."""
    outer = enum.containing_type
    taken = {*IMPORTED, *(_scope(outer) if outer else _offered(enum.file))}
    enums = outer.enum_types if outer else enum.file.enum_types_by_name.values()
    found = "", ""
    for sibling in enums:
        name = names.attribute(sibling.name)
        found = _free(f"_{name}", taken), _free(f"_{name}Type", taken)
        if sibling.name == enum.name:
            break
    return found


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _oneof(oneof: OneofDescriptor) -> StubOneof:
    return StubOneof(name=oneof.name, fields=tuple(field.name for field in oneof.fields))


def _is_synthetic(oneof: OneofDescriptor) -> bool:
    """The oneof that protoc makes for a proto3 optional field."""
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"
