"""Every way to change an event type, and what it means for events that are stored."""

from __future__ import annotations

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor

from eskit.schema.changes import ChangeSeverity, ChangeVerdict, verdict_of
from eskit.schema.comparison import compare_messages
from eskit.schema.compatibility import compare_types
from eskit.schema.services import compare_services
from eskit.schema.wire import readable
from tests.support.schema_versions import descriptor, event, message, parsed

BREAKING, WARNING, ADDITION = (
    ChangeSeverity.BREAKING,
    ChangeSeverity.WARNING,
    ChangeSeverity.ADDITION,
)

CHANGES = {
    "nothing": ("string a = 1;", "string a = 1;", None),
    "added": ("", "string a = 1;", ("FIELD_ADDED", ADDITION, "FULL")),
    "removed": ("string a = 1;", "", ("FIELD_REMOVED", BREAKING, "FORWARD")),
    "removed and reserved": (
        "string a = 1;",
        "reserved 1;",
        ("FIELD_REMOVED", WARNING, "FULL"),
    ),
    "renamed": ("string a = 1;", "string b = 1;", ("FIELD_RENAMED", WARNING, "FULL")),
    "renumbered": (
        "string a = 1;",
        "string a = 2;",
        ("FIELD_NUMBER_CHANGED", BREAKING, "BREAKING"),
    ),
    "reused with another type": (
        "string a = 1;",
        "int64 b = 1;",
        ("FIELD_NUMBER_REUSED", BREAKING, "BREAKING"),
    ),
    "reused although reserved": (
        "reserved 1;",
        "string a = 1;",
        ("RESERVED_NUMBER_USED", BREAKING, "BREAKING"),
    ),
    "retyped": (
        "string a = 1;",
        "int64 a = 1;",
        ("FIELD_TYPE_CHANGED", BREAKING, "BREAKING"),
    ),
    "widened": ("int32 a = 1;", "int64 a = 1;", ("FIELD_TYPE_CHANGED", WARNING, "BACKWARD")),
    "narrowed": ("int64 a = 1;", "int32 a = 1;", ("FIELD_TYPE_CHANGED", BREAKING, "FORWARD")),
    "now many": (
        "string a = 1;",
        "repeated string a = 1;",
        ("FIELD_TYPE_CHANGED", WARNING, "BACKWARD"),
    ),
    "now one": (
        "repeated string a = 1;",
        "string a = 1;",
        ("FIELD_TYPE_CHANGED", BREAKING, "FORWARD"),
    ),
    "within a message": (
        "M a = 1; message M { string x = 2; }",
        "M a = 1; message M { int64 x = 2; }",
        ("FIELD_TYPE_CHANGED", BREAKING, "BREAKING"),
    ),
    "within itself": (
        "E a = 1; string x = 2;",
        "E a = 1; string y = 2;",
        ("FIELD_RENAMED", WARNING, "FULL"),
    ),
    "enum value added": (
        "K a = 1; enum K { Z = 0; }",
        "K a = 1; enum K { Z = 0; ONE = 1; }",
        ("ENUM_VALUE_ADDED", ADDITION, "FULL"),
    ),
    "enum value removed": (
        "K a = 1; enum K { Z = 0; ONE = 1; }",
        "K a = 1; enum K { Z = 0; }",
        ("ENUM_VALUE_REMOVED", BREAKING, "FORWARD"),
    ),
    "enum value removed and reserved": (
        "K a = 1; enum K { Z = 0; ONE = 1; }",
        "K a = 1; enum K { reserved 1; Z = 0; }",
        ("ENUM_VALUE_REMOVED", WARNING, "FULL"),
    ),
    "a message of another name": (
        "M a = 1; message M { int64 x = 1; }",
        "N a = 1; message N { int64 x = 1; }",
        ("FIELD_TYPE_RENAMED", WARNING, "FULL"),
    ),
    "JSON name changed": (
        'string a = 1 [json_name = "b"];',
        'string a = 1 [json_name = "c"];',
        ("FIELD_JSON_NAME_CHANGED", WARNING, "FULL"),
    ),
    "a number of its own again": (
        "reserved 4, 7 to 9; string a = 1;",
        "reserved 8; string a = 1;",
        ("RESERVED_REMOVED", WARNING, "FULL"),
    ),
    "a name of its own again": (
        'reserved "b"; string a = 1;',
        "string a = 1;",
        ("RESERVED_REMOVED", WARNING, "FULL"),
    ),
    "an enum value of its own again": (
        "K a = 1; enum K { reserved 1; Z = 0; }",
        "K a = 1; enum K { Z = 0; }",
        ("RESERVED_REMOVED", WARNING, "FULL"),
    ),
    "enum value renamed": (
        "K a = 1; enum K { Z = 0; ONE = 1; }",
        "K a = 1; enum K { Z = 0; UNO = 1; }",
        ("ENUM_VALUE_RENAMED", WARNING, "FULL"),
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_changed_field_has_a_rule_a_severity_and_a_verdict(old, new, expected):
    found = compare_messages(descriptor(event("E", old), "E"), descriptor(event("E", new), "E"))

    told = [(c.rule, c.severity, verdict_of(found).value) for c in found]
    assert told == ([expected] if expected else [])
    assert all(change.fix for change in found if change.severity is not ADDITION)


EDITION = 'edition = "2023";'
CLOSED = "features.enum_type = CLOSED"
REQUIRED = "[features.field_presence = LEGACY_REQUIRED]"

OTHER_SYNTAX = {
    "a default changed": (
        "int32 a = 1 [default = 5];",
        "int32 a = 1 [default = 7];",
        ("FIELD_DEFAULT_CHANGED", BREAKING, "BREAKING"),
    ),
    "a default dropped": (
        'string a = 1 [default = "x"];',
        "string a = 1;",
        ("FIELD_DEFAULT_CHANGED", BREAKING, "BREAKING"),
    ),
    "another first value of a closed enum": (
        f"K a = 1; enum K {{ option {CLOSED}; Z = 0; ONE = 1; }}",
        f"K a = 1; enum K {{ option {CLOSED}; ONE = 1; Z = 0; }}",
        ("FIELD_DEFAULT_CHANGED", BREAKING, "BREAKING"),
    ),
    "an enum that becomes closed": (
        "K a = 1; enum K { Z = 0; }",
        f"K a = 1; enum K {{ option {CLOSED}; Z = 0; }}",
        ("ENUM_CLOSED", WARNING, "FULL"),
    ),
    "a number that becomes a closed enum": (
        "int32 a = 1;",
        f"K a = 1; enum K {{ option {CLOSED}; Z = 0; }}",
        ("FIELD_TYPE_CHANGED", BREAKING, "FORWARD"),
    ),
    "no longer required": (
        f"int32 a = 1 {REQUIRED};",
        "int32 a = 1;",
        ("FIELD_NO_LONGER_REQUIRED", WARNING, "BACKWARD"),
    ),
    "required and removed": (
        f"int32 a = 1 {REQUIRED};",
        "reserved 1;",
        ("FIELD_REMOVED", WARNING, "BACKWARD"),
    ),
    "an extension retyped": (
        "extensions 100; extend E { string x = 100; }",
        "extensions 100; extend E { bool x = 100; }",
        ("FIELD_TYPE_CHANGED", BREAKING, "BREAKING"),
    ),
    "an extension removed": (
        "extensions 100; extend E { string x = 100; }",
        "extensions 100;",
        ("FIELD_REMOVED", BREAKING, "FORWARD"),
    ),
}


def edition(fields: str) -> Descriptor:
    """An event of a proto of edition 2023."""
    return descriptor(event("E", fields), "E", syntax=EDITION)


@pytest.mark.parametrize(("old", "new", "expected"), OTHER_SYNTAX.values(), ids=OTHER_SYNTAX)
def test_a_change_that_only_some_syntaxes_know_is_found(old, new, expected):
    found = compare_messages(edition(old), edition(new))

    assert [(c.rule, c.severity, verdict_of([c]).value) for c in found] == [expected]
    assert all(change.fix for change in found)


WELL_KNOWN = ("Timestamp", "Duration", "Int64Value", "StringValue", "Struct", "Any", "Empty")


@pytest.mark.parametrize(("old", "new"), [(a, b) for a in WELL_KNOWN for b in WELL_KNOWN if a != b])
def test_one_well_known_type_never_becomes_another_unnoticed(old, new):
    imports = "".join(
        f'import "google/protobuf/{name}.proto";'
        for name in ("timestamp", "duration", "wrappers", "struct", "any", "empty")
    )
    before, after = (
        descriptor(imports + event("E", f"google.protobuf.{name} a = 1;"), "E")
        for name in (old, new)
    )

    (change,) = compare_messages(before, after)

    assert change.rule == "FIELD_TYPE_CHANGED"
    assert change.severity is BREAKING


@pytest.mark.parametrize("scalar", ["int64", "string", "bytes", "bool", "double"])
def test_a_wrapper_for_a_scalar_is_another_type(scalar):
    imports = 'import "google/protobuf/wrappers.proto";'
    before = descriptor(event("E", f"{scalar} a = 1;"), "E")
    wrapped = f"google.protobuf.{scalar.capitalize()}Value a = 1;"
    after = descriptor(imports + event("E", wrapped), "E")

    for old, new in ((before, after), (after, before)):
        (change,) = compare_messages(old, new)
        assert change.severity is BREAKING


def test_fields_that_leave_a_oneof_are_told_to_old_code():
    old = descriptor(event("E", "oneof x { string a = 1; string b = 2; }"), "E")
    new = descriptor(event("E", "string a = 1; string b = 2;"), "E")

    found = compare_messages(old, new)

    assert [(c.rule, c.path, c.backward, c.forward) for c in found] == [
        ("FIELD_ONEOF_CHANGED", "a", True, False),
        ("FIELD_ONEOF_CHANGED", "b", True, False),
    ]


def test_a_changed_default_touches_the_events_that_do_not_hold_the_field():
    old, new = edition("int32 a = 1 [default = 5];"), edition("int32 a = 1 [default = 7];")
    (change,) = compare_messages(old, new)
    kind = message_factory.GetMessageClass(old)

    assert change.touches(kind())
    assert not change.touches(kind(a=5))


def test_what_callers_send_and_get_is_compared_from_their_side():
    methods = [f"rpc {name}(Request) returns (Response);" for name in ("Do", "Gone")]
    service = f"service S {{ {' '.join(methods)} }}"
    old = parsed(service + "message Request { int32 n = 1; } message Response { int32 n = 1; }")
    new = parsed(
        service.replace(methods[1], "")
        + "message Request { int64 n = 1; } message Response { int64 n = 1; }"
    )

    found = {change.used_by: change for change in compare_services(old, new)}

    assert found["parcel.v1.S/Gone"].rule == "METHOD_REMOVED"
    assert found["request of parcel.v1.S/Do"].severity is WARNING
    assert found["response of parcel.v1.S/Do"].severity is BREAKING


def test_numbers_of_enum_values_that_trade_places_are_breaking():
    old = descriptor(event("E", "K a = 1; enum K { Z = 0; ONE = 1; TWO = 2; }"), "E")
    new = descriptor(event("E", "K a = 1; enum K { Z = 0; TWO = 1; ONE = 2; }"), "E")

    found = compare_messages(old, new)

    assert {(c.rule, c.value) for c in found} == {
        ("ENUM_VALUE_NUMBER_CHANGED", 1),
        ("ENUM_VALUE_NUMBER_CHANGED", 2),
    }
    assert verdict_of(found) is ChangeVerdict.BREAKING


def test_fields_that_come_to_exclude_each_other_are_breaking():
    old = descriptor(event("E", "string a = 1; string b = 2; string c = 3;"), "E")
    new = descriptor(event("E", "oneof x { string a = 1; string b = 2; } string c = 3;"), "E")

    found = compare_messages(old, new)

    assert [(c.rule, c.path, c.backward) for c in found] == [
        ("FIELD_ONEOF_CHANGED", "a", False),
        ("FIELD_ONEOF_CHANGED", "b", False),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string a = 1;", "oneof x { string a = 1; string n = 9; }"),
        ("oneof x { string a = 1; string b = 2; }", "oneof y { string a = 1; string b = 2; }"),
        ("optional string a = 1; string b = 2;", "string a = 1; optional string b = 2;"),
    ],
    ids=["one moves into a new oneof", "the oneof is renamed", "presence changes"],
)
def test_a_oneof_that_excludes_nothing_new_breaks_nothing(old, new):
    found = compare_messages(descriptor(event("E", old), "E"), descriptor(event("E", new), "E"))

    assert verdict_of(found) is ChangeVerdict.FULL


def test_a_change_names_the_path_and_the_numbers_that_lead_to_it():
    old = descriptor(event("E", "map<string, M> m = 4; message M { string x = 7; }"), "E")
    new = descriptor(event("E", "map<string, M> m = 4; message M { bool x = 7; }"), "E")

    (change,) = compare_messages(old, new)

    assert change.subject == "parcel.v1.E.m.value.x (7)"
    assert change.message == "string became bool"
    assert change.steps == (4, 2, 7)


def test_a_message_is_touched_where_it_holds_what_changed():
    body = event("E", "map<string, M> m = 4; string y = 5; message M { string x = 7; }")
    broken = event("E", "map<string, M> m = 4; string y = 5; message M { bool x = 7; }")
    (change,) = compare_messages(descriptor(body, "E"), descriptor(broken, "E"))

    def touched(**fields: object) -> bool:
        return change.touches(message(body, "E", **fields))

    assert touched(m={"k": {"x": "v"}})
    assert not touched(m={"k": {}})
    assert not touched(y="v")


def test_an_event_type_that_is_gone_is_told_by_what_became_of_it():
    old = {
        f"a.v1.{name}": [descriptor(event(name, fields), name, package="a.v1")]
        for name, fields in {"Gone": "string a = 1;", "Old": "int32 n = 3;", "Moved": ""}.items()
    }
    new = {
        "a.v1.New": descriptor(event("New", "int32 n = 3;"), "New", package="a.v1"),
        "a.v2.Moved": descriptor(event("Moved", ""), "Moved", package="a.v2"),
    }

    found = {change.event_type: change for change in compare_types(old, new)}

    assert found["a.v1.Gone"].rule == "EVENT_TYPE_REMOVED"
    assert found["a.v1.Old"].rule == "EVENT_TYPE_RENAMED"
    assert "a.v1.New" in found["a.v1.Old"].message
    assert found["a.v1.Moved"].rule == "PACKAGE_CHANGED"
    assert found["a.v2.Moved"].severity is ADDITION
    assert not any(found[name].backward for name in old)


def test_a_field_removed_long_ago_is_still_known_when_its_number_comes_back():
    first = descriptor(event("E", "string a = 1;"), "E")
    second = descriptor(event("E", ""), "E")
    now = descriptor(event("E", "int64 b = 1;"), "E")

    found = compare_types({"parcel.v1.E": [first, second]}, {"parcel.v1.E": now})

    assert [c.rule for c in found if not c.backward] == ["FIELD_NUMBER_REUSED"]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (event("E", "").replace('"P"', '"Q"'), "event of P became event of Q"),
        ("message E {}", "is no event of P any more"),
    ],
)
def test_an_event_that_its_aggregate_no_longer_has_is_breaking(declared, message):
    found = compare_types(
        {"parcel.v1.E": [descriptor(event("E", ""), "E")]},
        {"parcel.v1.E": descriptor(declared, "E")},
    )

    assert [(c.rule, c.message, c.severity) for c in found] == [
        ("EVENT_AGGREGATE_CHANGED", message, BREAKING)
    ]


def test_a_number_used_again_is_told_of_the_field_that_had_it_and_not_of_its_reservation():
    first = descriptor(event("E", "string a = 1;"), "E")
    second = descriptor(event("E", "reserved 1;"), "E")
    now = descriptor(event("E", "int64 b = 1;"), "E")

    found = compare_types({"parcel.v1.E": [first, second]}, {"parcel.v1.E": now})

    assert [(c.rule, c.path) for c in found] == [("FIELD_NUMBER_REUSED", "a")]


def test_reading_a_type_is_the_mirror_of_being_read_by_it():
    kinds = range(1, 19)

    for old in kinds:
        for new in kinds:
            assert readable(old, new) == readable(new, old)[::-1]
