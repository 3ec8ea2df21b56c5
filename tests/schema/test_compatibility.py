"""Every way to change an event type, and what it means for events that are stored."""

from __future__ import annotations

import pytest

from eskit.schema.changes import Severity, Verdict, verdict_of
from eskit.schema.comparison import compare_messages
from eskit.schema.compatibility import compare_types
from eskit.schema.wire import readable
from tests.schema.versions import descriptor, event, message

BREAKING, WARNING, ADDITION = Severity.BREAKING, Severity.WARNING, Severity.ADDITION

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


def test_numbers_of_enum_values_that_trade_places_are_breaking():
    old = descriptor(event("E", "K a = 1; enum K { Z = 0; ONE = 1; TWO = 2; }"), "E")
    new = descriptor(event("E", "K a = 1; enum K { Z = 0; TWO = 1; ONE = 2; }"), "E")

    found = compare_messages(old, new)

    assert {(c.rule, c.value) for c in found} == {
        ("ENUM_VALUE_NUMBER_CHANGED", 1),
        ("ENUM_VALUE_NUMBER_CHANGED", 2),
    }
    assert verdict_of(found) is Verdict.BREAKING


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

    assert verdict_of(found) is Verdict.FULL


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
