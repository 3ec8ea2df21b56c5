"""What protos declare by full name, and the findings about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from eskit.codegen.python import names
from eskit.codegen.reading.locate import Locator, Locators, PathInFile
from eskit.codegen.reading.model import MessageRef
from eskit.errors import Diagnostic

# Field numbers of descriptor.proto, of which places in a file are made.
_PACKAGE, _MESSAGES, _SERVICES = 2, 4, 6
_NAME, _FIELDS, _NESTED, _MESSAGE_OPTIONS = 1, 2, 3, 7
_METHODS, _SERVICE_OPTIONS = 2, 3
_TYPE_NAME, _TYPE = 6, 5


@dataclass(frozen=True, slots=True)
class DeclaredMessage:
    """A message, and where it stands in its file."""

    ref: MessageRef
    proto: DescriptorProto
    place: PathInFile


@dataclass(frozen=True, slots=True)
class DeclaredService:
    """A service, and where it stands in its file."""

    full_name: str
    file: str
    proto: ServiceDescriptorProto
    place: PathInFile


class Declarations:
    """Everything that a set of protos declares; only `project` files are looked at closely."""

    def __init__(self, files: FileDescriptorSet, project: set[str], locators: Locators) -> None:
        self.files = sorted((f for f in files.file if f.name in project), key=lambda f: f.name)
        self._messages = {file.name: tuple(_messages(file)) for file in files.file}
        self._services = {file.name: tuple(_services(file)) for file in self.files}
        self.messages = {d.ref.full_name: d for found in self._messages.values() for d in found}
        self.services = {d.full_name: d for found in self._services.values() for d in found}
        self._packages = {file.name: file.package for file in files.file}
        self._ours = project
        self._locators = locators

    def messages_of(self, file: FileDescriptorProto) -> tuple[DeclaredMessage, ...]:
        """The messages of a file, nested ones included, in the order of the file."""
        return self._messages[file.name]

    def services_of(self, file: FileDescriptorProto) -> tuple[DeclaredService, ...]:
        """The services of a file, in its order."""
        return self._services[file.name]

    def package(self, file: str) -> str:
        """The package of a file."""
        return self._packages[file]

    def comment(self, file: str, place: PathInFile) -> str:
        """The comment on a declaration."""
        return self._locators[file].comment(place) if file in self._ours else ""

    def locator(self, file: str) -> Locator:
        """Where things are in a project file."""
        return self._locators[file]

    def is_ours(self, message: str) -> bool:
        """Whether a project file declares the message."""
        return self.messages[message].ref.file in self._ours


class Findings:
    """Collects diagnostics, each at the place of what it is about."""

    def __init__(self, declarations: Declarations) -> None:
        self._declarations = declarations
        self._found: list[Diagnostic] = []

    def sorted(self) -> list[Diagnostic]:
        """By place: file, line, column; what several things lead to is said once."""
        found = dict.fromkeys(self._found)
        return sorted(found, key=lambda d: (d.file, d.line, d.column, d.code))

    def at_package(self, code: str, message: str, hint: str, *, file: str) -> None:
        """About the package of a file."""
        self._add(file, code, message, hint, (_PACKAGE,), ())

    def at_message(
        self, code: str, message: str, hint: str, *, name: str, option: int = 0, text: str = ""
    ) -> None:
        """About a message, or the text of one of its options."""
        declared = self._declarations.messages[name]
        option_places = [(*declared.place, _MESSAGE_OPTIONS, option)] if option else []
        self._add(
            declared.ref.file,
            code,
            message,
            hint,
            *option_places,
            (*declared.place, _NAME),
            at=text if option else "",
        )

    def at_field(self, code: str, message: str, hint: str, *, name: str, field: str) -> None:
        """About the type of a field."""
        declared = self._declarations.messages[name]
        index = [f.name for f in declared.proto.field].index(field)
        place = (*declared.place, _FIELDS, index)
        # A repeated field is pointed at as a whole: its label is the mistake.
        label = declared.proto.field[index].label
        parts = (
            []
            if label == FieldDescriptorProto.LABEL_REPEATED
            else [(*place, _TYPE), (*place, _TYPE_NAME)]
        )
        self._add(declared.ref.file, code, message, hint, *parts, place)

    def at_field_name(self, code: str, message: str, hint: str, *, name: str, field: str) -> None:
        """About the name of a field."""
        declared = self._declarations.messages[name]
        index = [f.name for f in declared.proto.field].index(field)
        place = (*declared.place, _FIELDS, index, _NAME)
        self._add(declared.ref.file, code, message, hint, place)

    def at_service(
        self, code: str, message: str, hint: str, *, name: str, option: int = 0, text: str = ""
    ) -> None:
        """About a service, or the text of one of its options."""
        declared = self._declarations.services[name]
        option_places = [(*declared.place, _SERVICE_OPTIONS, option)] if option else []
        self._add(
            declared.file,
            code,
            message,
            hint,
            *option_places,
            (*declared.place, _NAME),
            at=text if option else "",
        )

    def at_rpc(
        self,
        code: str,
        message: str,
        hint: str,
        *,
        service: str,
        index: int,
        text: str = "",
        severity: str = "error",
    ) -> None:
        """About an rpc: its name, or `text` within it."""
        declared = self._declarations.services[service]
        place = (*declared.place, _METHODS, index)
        places = [place] if text else [(*place, _NAME), place]
        self._add(declared.file, code, message, hint, *places, at=text, severity=severity)

    def _add(
        self,
        file: str,
        code: str,
        message: str,
        hint: str,
        *places: PathInFile,
        at: str = "",
        severity: str = "error",
    ) -> None:
        locator = self._declarations.locator(file)
        found = locator.diagnostic(code, message, hint, *places, at=at)
        self._found.append(found._replace(severity=severity))


def join(*parts: str) -> str:
    """A full name from its parts, the empty ones left out."""
    return ".".join(part for part in parts if part)


def _messages(file: FileDescriptorProto) -> Iterator[DeclaredMessage]:
    for index, proto in enumerate(file.message_type):
        yield from _nested(file, proto, file.package, "", (_MESSAGES, index))


def _nested(
    file: FileDescriptorProto, proto: DescriptorProto, scope: str, outer: str, place: PathInFile
) -> Iterator[DeclaredMessage]:
    full_name = join(scope, proto.name)
    path = join(outer, names.attribute(proto.name))
    yield DeclaredMessage(MessageRef(full_name=full_name, file=file.name, path=path), proto, place)
    for index, nested in enumerate(proto.nested_type):
        if not nested.options.map_entry:
            yield from _nested(file, nested, full_name, path, (*place, _NESTED, index))


def _services(file: FileDescriptorProto) -> Iterator[DeclaredService]:
    for index, proto in enumerate(file.service):
        yield DeclaredService(join(file.package, proto.name), file.name, proto, (_SERVICES, index))
