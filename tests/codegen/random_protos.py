"""Random valid protos: aggregates and events with fields of every kind and awkward names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from eskit.codegen.python import names
from tests.support.trees import HEAD

AGGREGATES = [
    *("Order", "Client", "Method", "Never", "None", "class", "list", "IBANAccount"),
    *("AnAggregateWhoseNameIsLongerThanAnyFormatterLikesToSeeOnOneLine", "TwentyLettersAndMore"),
]
EVENTS = [
    *("Event", "None", "True", "class", "str", "Message", "Aggregate", "TypeAlias", "Opened"),
    *("NoteAdded", "IBANChangedEvent", "HTTP2StreamReset", "AccountOpenedEventV1", "on_x", "_x"),
    "SomethingHappenedThatTakesMoreThanEightyEightColumnsToBeSaidInOneBreathEvent",
]
COMMENTS = [
    *("", "Short.", 'Ends with "quotes"', '"Begins', "Back\\slash \\", '"""', "Tab\there"),
    *("x" * 71, "x" * 72, "x" * 75, "x" * 78, "x" * 79, "x" * 80, "x" * 100),
    *("word " * 14 + "end", "word " * 15 + "end", "word " * 16 + 'en"', "word " * 30),
    "First.\n\nSecond paragraph.\n  * indented\n",
    "  Leading blanks, and trailing ones.   ",
    "{{ no }} {% template %} {# at all #}",
    "# type: ignore",
    "noqa",
]
RPCS = [
    *("Emit", "Import", "ID", "Open", "Version", "GetHTTP2Stream", "State", "pass"),
    "DoSomethingWhoseNameIsAsLongAsItCouldPossiblyBeAndThenSomeMore",
]
FIELDS = [
    *("from", "class", "def", "None", "True", "async", "lambda", "self", "_self", "cls", "list"),
    *("int", "str", "bytes", "type", "property", "print", "DESCRIPTOR", "HasField", "field_name"),
    *("SerializeToString", "FromString", "ByteSize", "CopyFrom", "event", "state", "version"),
    *("context", "emit", "_private", "a1b2", "camelCase", "Upper", "metadata", "position"),
]
SCALARS = [
    *("double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32"),
    *("fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes"),
]
KEYS = ["int32", "uint64", "sint32", "fixed64", "bool", "string"]
WELL_KNOWN = {
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Duration": "duration",
    "google.protobuf.StringValue": "wrappers",
    "google.protobuf.Int64Value": "wrappers",
    "google.protobuf.BytesValue": "wrappers",
}
NESTED = ["Part", "None", "import", "Clear", "CopyFrom", "HasField", "WhichOneof", "_Kind"]
ENUMS = ["Kind", "lambda", "HasField", "ByteSize", "t", "b"]


@dataclass(frozen=True)
class Protos:
    """A drawn project: its files, and its aggregates with the number of events of each."""

    files: dict[str, str]
    aggregates: list[tuple[str, int]]


def identifiers(awkward: Sequence[str], pattern: str) -> st.SearchStrategy[str]:
    """Names that somebody thought of, and any others."""
    return st.sampled_from(awkward) | st.from_regex(pattern, fullmatch=True)


FIELD_NAMES = st.lists(
    identifiers(FIELDS, r"[a-z][a-z0-9]{0,6}(_[a-z0-9]{1,4}){0,2}"),
    min_size=1,
    max_size=8,
    # protoc refuses names whose JSON names are the same.
    unique_by=lambda name: name.replace("_", "").lower(),
)


@st.composite
def protos(draw: st.DrawFn, *, package: str) -> Protos:
    """One or two aggregates, their services, and events in the same file or in another."""
    kinds = draw(
        st.lists(
            st.sampled_from(AGGREGATES),
            min_size=1,
            max_size=2,
            unique_by=names.snake_case,
        )
    )
    state, facts, aggregates = [], [], []
    taken = {"Go", "Done"}
    for number, kind in enumerate(kinds):
        events = draw(
            st.lists(
                identifiers(EVENTS, r"[A-Z][a-z]{1,5}([A-Z][a-z]{1,4})?(Event)?"),
                max_size=4,
                unique_by=names.event_method_name,
            )
        )
        events = [event for event in events if f"{event}_" not in taken and event not in taken]
        taken |= {*events, *(f"{event}_" for event in events)}
        state.append(_state(draw, kind, number))
        for event in events:
            target = draw(st.sampled_from([state, facts]))
            target.append(_event(draw, kind, event))
        aggregates.append((kind, len(events)))
    imports = "".join(f'import "google/protobuf/{name}.proto";\n' for name in _well_known())
    files = {f"{package}/state.proto": HEAD.format(package=f"{package}.v1") + imports}
    files[f"{package}/state.proto"] += "\n".join(state)
    if facts:
        text = HEAD.format(package=f"{package}.facts") + imports + "\n".join(facts)
        files[f"{package}/facts.proto"] = text
    return Protos(files, aggregates)


def _well_known() -> list[str]:
    return sorted(set(WELL_KNOWN.values()))


def _state(draw: st.DrawFn, kind: str, number: int) -> str:
    """The state of an aggregate and its command service; its message is named after neither."""
    rpc = draw(st.sampled_from(RPCS))
    comment = _comment(draw)
    return f"""
{comment}message State{number} {{
  option (eventsourcing.aggregate_root) = {{id_field: "key" type_name: "{kind}"}};
  string key = 1;
}}
message Go{number} {{ string key = 1; }}
message Done{number} {{}}
{comment}service S{number}CommandService {{
  option (eventsourcing.service) = {{aggregate_name: "{kind}"}};
  {comment}rpc {rpc}(Go{number}) returns (Done{number});
}}
"""


def _comment(draw: st.DrawFn) -> str:
    """A comment that may be nothing, in lines of its own."""
    lines = draw(st.sampled_from(COMMENTS)).split("\n")
    return "".join(f"// {line}\n" for line in lines) if lines != [""] else ""


def _event(draw: st.DrawFn, kind: str, name: str) -> str:
    fields = draw(FIELD_NAMES)
    nested = draw(st.sampled_from(NESTED))
    enum = draw(st.sampled_from([name for name in ENUMS if name != nested]))
    # A name stands for one thing within a message, in the proto and in Python.
    clashing = {nested, f"{nested}_", enum, f"{enum}_"}
    fields = [field for field in fields if field not in clashing]
    lines = [f'  option (eventsourcing.event) = {{aggregate_name: "{kind}"}};']
    lines += [f"  message {nested} {{ string text = 1; repeated {nested} parts = 2; }}"]
    lines += [f"  enum {enum} {{ ZERO_{enum} = 0; ONE_{enum} = 1; }}"]
    if f"{enum}Type" not in fields:
        lines += [f"  enum {enum}Type {{ ZERO_{enum}Type = 0; }}"]
    choice = []
    for number, field in enumerate(fields, start=1):
        kinds = [*SCALARS, *WELL_KNOWN, nested, enum]
        kind = draw(st.sampled_from(kinds))
        match draw(st.sampled_from(["one", "one", "optional", "repeated", "map", "oneof"])):
            case "one":
                lines.append(f"  {kind} {field} = {number};")
            case "map":
                lines.append(f"  map<{draw(st.sampled_from(KEYS))}, {kind}> {field} = {number};")
            case "oneof":
                choice.append(f"    {kind} {field} = {number};")
            case label:
                lines.append(f"  {label} {kind} {field} = {number};")
    if choice:
        lines += ["  oneof the_choice {", *choice, "  }"]
    deprecated = ["  option deprecated = true;"] if draw(st.booleans()) else []
    head = f"{_comment(draw)}message {name} {{"
    return "\n".join([head, *deprecated, *lines, "}", ""])


NUMBERS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


def messages(descriptor: Descriptor, *, depth: int = 2) -> st.SearchStrategy[Message]:
    """Any message of a type, with any of its fields set."""
    if (values := _of_well_known(descriptor)) is not None:
        return values
    needed = {field.name: _values(field, depth) for field in descriptor.fields if field.is_required}
    others = {
        field.name: _values(field, depth)
        for field in descriptor.fields
        if field.name not in needed and (depth or _is_flat(field))
    }
    kind = GetMessageClass(descriptor)
    return st.fixed_dictionaries(needed, optional=others).map(lambda chosen: kind(**chosen))


def _is_flat(field: FieldDescriptor) -> bool:
    return field.message_type is None


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        keys, values = (_one(entry, depth) for entry in kind.fields)
        return st.dictionaries(keys, values, max_size=2)
    return st.lists(_one(field, depth), max_size=2) if field.is_repeated else _one(field, depth)


def _one(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth=depth - 1)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        return st.binary(max_size=8) if field.type == FieldDescriptor.TYPE_BYTES else texts
    return NUMBERS[field.cpp_type]


def _of_well_known(descriptor: Descriptor) -> st.SearchStrategy[Message] | None:
    """Times and durations within what protobuf's JSON can express."""
    kind = GetMessageClass(descriptor)
    nanos = st.integers(0, 999_999_999)
    match descriptor.full_name:
        case "google.protobuf.Timestamp":
            seconds = st.integers(-62_135_596_800, 253_402_300_799)
            return st.builds(lambda s, n: kind(seconds=s, nanos=n), seconds, nanos)
        case "google.protobuf.Duration":
            seconds = st.integers(-315_576_000_000, 315_576_000_000)
            return st.builds(
                lambda s, n: kind(seconds=s, nanos=int(math.copysign(n, s)) if s else n),
                seconds,
                nanos,
            )
    return None
