"""Make protoc's Python modules importable from wherever they are generated to.

protoc writes absolute imports that only work with the output folder on ``sys.path``, and puts
the module's name into its classes as text. Here imports become relative and the name becomes
``__name__``, so that classes carry their real module and pickle. Names that clash with those of
another module are told apart when the module is loaded. Messages and enums called like
a keyword get a second name, which the stub has, too.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable, Iterator

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
)

from eskit.codegen.python import names
from eskit.errors import SchemaInvalid

_ENCODING = "# -*- coding: utf-8 -*-\n"
_MODULE_NAME = re.compile(r"(_builder\.BuildTopDescriptorsAndMessages\(DESCRIPTOR, )'[^']*'")


# protobuf says of names that clash only that they do; eskit says whose they are.
_ADDED = re.compile(
    r"^DESCRIPTOR = _descriptor_pool\.Default\(\)\.AddSerializedFile\((?P<bytes>b'.*')\)$",
    re.MULTILINE,
)
_BUILDER = re.compile(r"^from google\.protobuf\.internal import builder as _builder$", re.MULTILINE)
_IMPORT_OF_ADDING = "from eskit.schema import adding as _eskit_adding"

# protoc writes its fallback even where a path segment is a keyword, which is no valid Python.
_ALIAS = re.compile(
    r"^try:\n  (?P<alias>.+) = (?P<module>.+)\.(?P=alias)\nexcept AttributeError:\n  .+$",
    re.MULTILINE,
)


def relocate(
    file: FileDescriptorProto, text: str, module_of: Callable[[str], tuple[str, str] | None]
) -> str:
    """The text of a pb2 module with corrected imports and its own name.

    `module_of` gives, for an imported proto, the package to import from (relative or absolute)
    and the module in it; None leaves the import as protoc wrote it. Raises GENCODE_UNKNOWN when
    an import or the name is not where this protoc is known to put it.
    """
    for dependency in file.dependency:
        target = module_of(dependency)
        if target is not None:
            text = _rewrite_imports(file, text, dependency, target)
    text = _ALIAS.sub(_alias, text)
    text, count = _ADDED.subn(r"DESCRIPTOR = _eskit_adding.add_file(\g<bytes>, __name__)", text)
    if count != 1:
        raise _unknown(file.name, "its descriptor")
    text = _BUILDER.sub(rf"\g<0>\n{_IMPORT_OF_ADDING}", text, count=1)
    text, count = _MODULE_NAME.subn(r"\1__name__", text)
    if count != 1:
        raise _unknown(file.name, "its own module name")
    return text.removeprefix(_ENCODING) + "".join(f"{line}\n" for line in _aliases(file))


def _aliases(file: FileDescriptorProto) -> Iterator[str]:
    """Names that can be written in Python for those of messages and enums that cannot."""
    for name in _keywords(file.message_type, file.enum_type):
        yield f"{name}_ = _globals['{name}']"
    for message in file.message_type:
        yield from _nested_aliases(message, names.attribute(message.name))


def _nested_aliases(message: DescriptorProto, path: str) -> Iterator[str]:
    for name in _keywords(message.nested_type, message.enum_type):
        yield f"{path}.{name}_ = getattr({path}, '{name}')"
    for nested in message.nested_type:
        yield from _nested_aliases(nested, f"{path}.{names.attribute(nested.name)}")


def _keywords(
    messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto]
) -> list[str]:
    declared = [*(message.name for message in messages), *(enum.name for enum in enums)]
    return [name for name in declared if keyword.iskeyword(name)]


def _rewrite_imports(
    file: FileDescriptorProto, text: str, dependency: str, target: tuple[str, str]
) -> str:
    """Each line that protoc writes for one import, as of protoc 35.

    The alias block of a public import reads attributes of a module that was just imported, so
    only these forms name a module.
    """
    package, module = target
    old = names.protoc_module(dependency)
    old_package, _, old_module = old.rpartition(".")
    plain = f"from {old_package} import {old_module} as" if old_package else f"import {old} as"
    lines = re.compile(
        rf"^(?:{re.escape(plain)} (?P<alias>.+)"
        rf"|(?P<dynamic>[^=\n]++)= importlib\.import_module\('{re.escape(old)}'\)"
        rf"|(?P<star>from {re.escape(old)} import \*))$",
        re.MULTILINE,
    )

    def replacement(match: re.Match[str]) -> str:
        if match["star"]:
            return f"from {package if package.endswith('.') else package + '.'}{module} import *"
        alias = names.identifier((match["alias"] or match["dynamic"]).rstrip())
        return f"from {package} import {module} as {alias}"

    text, count = lines.subn(replacement, text)
    if not count:
        raise _unknown(file.name, f"the import of {dependency}")
    return text


def _alias(match: re.Match[str]) -> str:
    """The block of one alias without its fallback.

    Its names are made of a path, which need be no identifier.
    """
    alias, module = names.identifier(match["alias"]), names.identifier(match["module"])
    return f"{alias} = {module}.{alias}"


def _unknown(file: str, what: str) -> SchemaInvalid:
    return SchemaInvalid(
        f"In what protoc generated from {file}, {what} is not where it is expected",
        code="GENCODE_UNKNOWN",
        hint="Install the version of grpcio-tools that this eskit was tested with.",
    )
