"""From names in a proto to names in Python."""

from __future__ import annotations

import keyword
import re

_WORD = re.compile(r"(.)([A-Z][a-z]+)")
_CASE = re.compile(r"([a-z0-9])([A-Z])")
_NOT_IDENTIFIER = re.compile(r"\W", re.ASCII)

RESERVED = frozenset({"id", "version", "state", "context", "emit", "fold_version", "reads"})
"""Public names of the classes that generated ones derive from."""


_IMPORTED = frozenset(
    {
        "Aggregate",
        "AggregateType",
        "CallOptions",
        "ClassVar",
        "Client",
        "CommandContext",
        "EventMethod",
        "Message",
        "Method",
        "Never",
        "Protocol",
        "QueryContext",
        "QueryHandler",
        "ServiceBinding",
        "ServiceType",
        "TYPE_CHECKING",
        "TypeAlias",
        "UpcastingInvalid",
    }
)


def snake_case(name: str) -> str:
    """``GetHTTP2Stream`` gives ``get_http2_stream``."""
    return _CASE.sub(r"\1_\2", _WORD.sub(r"\1_\2", name)).replace("__", "_").lower()


def constant_name(name: str) -> str:
    """``AccountCommandService`` gives ``ACCOUNT_COMMAND_SERVICE``."""
    return class_name(snake_case(name).upper())


def attribute(name: str) -> str:
    """`name` as an attribute: keywords get a trailing underscore."""
    return f"{name}_" if keyword.iskeyword(name) else name


def method_name(rpc: str) -> str:
    """The method of an rpc: names of the base class get a trailing underscore, too."""
    name = snake_case(rpc)
    if keyword.iskeyword(name) or name in RESERVED or name.startswith("_"):
        return f"{name.lstrip('_')}_"
    return name


def class_name(name: str) -> str:
    """`name` for a generated class: what generated modules import gets out of its way."""
    return f"{name}_" if name in _IMPORTED or keyword.iskeyword(name) else name


def event_method_name(event: str) -> str:
    """The method of an event: ``AccountOpenedEvent`` gives ``on_account_opened``."""
    return f"on_{snake_case(event.removesuffix('Event') or event)}"


def qualified_event_method(full_name: str) -> str:
    """The method of an event that leaves its plain name to another: ``on_a_v1_opened_event``."""
    return f"on_{_joined(full_name)}"


def qualified(package: str, name: str) -> str:
    """`name` with its package in front: ``acct_v1_open_account``."""
    return f"{_joined(package)}_{name}" if package else name


def _joined(full_name: str) -> str:
    return "_".join(snake_case(part) for part in full_name.split("."))


def identifier(part: str) -> str:
    """A part of a path as a name: ``2024`` gives ``_2024``, ``x-y`` gives ``x_y``."""
    name = _NOT_IDENTIFIER.sub("_", part)
    return f"_{name}" if not name or name[0].isdigit() else name


def module_parts(proto_file: str) -> tuple[str, ...]:
    """Folders and module stem for a proto: ``a-b/c.d.proto`` gives ``("a_b", "c", "d")``.

    As protoc does it, a dot makes a folder and a dash an underscore; segments that could not
    be imported are mended.
    """
    *folders, stem = proto_file.removesuffix(".proto").replace("/", ".").split(".")
    # The stem gets a suffix, so it may be a keyword.
    return (*(attribute(identifier(folder)) for folder in folders), identifier(stem))


def protoc_module(proto_file: str) -> str:
    """The dotted module that protoc's own output is called, without mending."""
    return proto_file.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"


def camel_case(name: str) -> str:
    """An application's name as a class name: ``my-bank`` gives ``MyBank``."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return f"App{joined}" if joined[:1].isdigit() else joined or "App"
