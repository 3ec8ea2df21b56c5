"""What of a message is shown: what somebody set, and only that."""

import pytest

from eskit.cli.commands.conditions import parse_condition
from eskit.cli.terminal.values import leaves
from eskit.errors import InvalidArgument
from eskit.schema.jsonmap import to_dict
from eskit.schema.paths import find_value
from eskit.schema.pools import descriptor_of
from eskit.store.replay import find_state_changes
from tests.support.schema_versions import message

BODY = """
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Status { STATUS_UNKNOWN = 0; STATUS_OPEN = 1; STATUS_CLOSED = 10; }
message Line { string name = 1; int64 units = 2; Line inner = 3; }
message All {
  string text = 1;
  int64 wide = 2;
  bool flag = 3;
  double ratio = 4;
  Status status = 5;
  optional string maybe = 6;
  oneof choice { bool yes = 7; int32 number = 8; Status picked = 9; }
  google.protobuf.Int64Value wrapped = 10;
  google.protobuf.Struct free = 11;
  Line line = 12;
  repeated Line lines = 13;
  repeated int32 numbers = 14;
  map<string, int64> labels = 15;
  map<int32, Line> by_number = 16;
  google.protobuf.Duration took = 17;
  google.protobuf.Timestamp at = 18;
}
"""


def make(**fields):
    return message(BODY, "All", **fields)


def shown(made, **options):
    return dict(leaves(to_dict(made), descriptor_of(type(made)), **options))


def test_a_message_that_says_nothing_shows_nothing():
    assert shown(make()) == {}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"yes": False}, {"yes": "false"}),
        ({"number": 0}, {"number": "0"}),
        ({"picked": 0}, {"picked": "UNKNOWN"}),
        ({"maybe": ""}, {"maybe": '""'}),
        ({"wrapped": {"value": 0}}, {"wrapped": "0"}),
        ({"line": {}}, {"line": "{}"}),
        ({"line": {"inner": {}}}, {"line.inner": "{}"}),
        ({"labels": {"a": 0}}, {"labels.a": "0"}),
        ({"numbers": [0, 2]}, {"numbers": "[0, 2]"}),
        ({"ratio": -0.0}, {"ratio": "-0.0"}),
        ({"by_number": {3: {}}}, {"by_number.3": "{}"}),
    ],
)
def test_a_value_that_was_set_is_shown_also_when_it_is_a_default(fields, expected):
    assert shown(make(**fields)) == expected


def test_what_stands_in_a_struct_was_put_there():
    made = make()
    made.free.update({"none": None, "no": False, "zero": 0, "empty": "", "list": [], "nested": {}})

    assert shown(made) == {
        "free.none": "null",
        "free.no": "false",
        "free.zero": "0.0",
        "free.empty": '""',
        "free.list": "[]",
        "free.nested": "{}",
    }


def test_messages_in_a_list_are_one_value_each():
    made = make(lines=[{"name": "a", "units": 2}, {}])

    assert shown(made) == {"lines.0": '{name "a", units 2}', "lines.1": "{}"}


def test_keys_of_maps_come_in_their_order():
    made = make(labels=dict.fromkeys(["zebra", "apple", "mango", "kiwi", "fig"], 1))
    made.by_number[10].name = made.by_number[9].name = "x"

    assert list(to_dict(made)["labels"]) == ["apple", "fig", "kiwi", "mango", "zebra"]
    assert list(to_dict(made)["by_number"]) == ["9", "10"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("labels.a-b", "1"),
        ("labels.app.kubernetes.io/name", "2"),
        ('labels."app.kubernetes.io/name"', "2"),
        ('labels."two words"', "3"),
        ("lines.0.name", "x"),
    ],
)
def test_a_path_leads_to_every_key_and_place(path, value):
    labels = {"a-b": 1, "app.kubernetes.io/name": 2, "two words": 3}
    made = make(labels=labels, lines=[{"name": "x"}])

    found = find_value(to_dict(made), descriptor_of(type(made)), path)

    assert found.value == value


def test_paths_are_shown_as_they_can_be_typed():
    made = make(labels={"a-b": 1, "app.io/name": 2, "two words": 3, "with=sign": 4})

    for path, value in shown(made).items():
        assert parse_condition(f"{path}={value}").holds(to_dict(made), descriptor_of(type(made)))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("took>9s", True),
        ("took>9.6s", False),
        ("took<100s", True),
        ("took=9.500s", True),
        ("at>2026-05-01T00:00:00Z", True),
        ("at<2026-05-01T12:00:00.5Z", True),
        ("at=2026-05-01T14:00:00+02:00", True),
        ("status=CLOSED", True),
        ("status=STATUS_CLOSED", True),
        ("status=10", True),
        ("status>OPEN", True),
        ("status~CLOSE", True),
        ("wide>9", True),
        ("flag=true", True),
    ],
)
def test_a_condition_compares_values_as_what_they_are(condition, holds):
    made = make(wide=100, flag=True, status=10)
    made.took.FromJsonString("9.5s")
    made.at.FromJsonString("2026-05-01T12:00:00Z")

    assert parse_condition(condition).holds(to_dict(made), descriptor_of(type(made))) is holds


@pytest.mark.parametrize("condition", ["took>nine", "at>whenever", "status=SHUT"])
def test_a_condition_that_can_never_hold_is_refused_by_name(condition):
    made = make(status=1)
    made.took.FromJsonString("9.5s")
    made.at.FromJsonString("2026-05-01T12:00:00Z")

    with pytest.raises(InvalidArgument):
        parse_condition(condition).holds(to_dict(made), descriptor_of(type(made)))


def changes(old, new):
    return [(c.path, c.old, c.new) for c in find_state_changes(old, new)]


def test_a_change_of_a_long_list_is_only_what_changed():
    before = make(lines=[{"name": str(n)} for n in range(5)], numbers=[1, 2, 3], text="a")
    after = make(lines=[{"name": str(n)} for n in range(6)], numbers=[1, 2, 4], text="a")
    after.lines[3].units = 7

    assert changes(before, after) == [
        ("lines.3.units", "0", "7"),
        ("lines.5", None, {"name": "5", "units": "0"}),
        ("numbers.2", 3, 4),
    ]


def test_a_value_that_changes_its_kind_is_a_change():
    before, after = make(), make()
    before.free.update({"a": [1], "b": 1, "c": None, "d": {"x": 1}})
    after.free.update({"a": {"x": 1}, "b": True, "c": 0, "d": []})

    assert [path for path, _, _ in changes(before, after)] == [
        "free.a",
        "free.b",
        "free.c",
        "free.d",
    ]


def test_presence_is_a_change_of_its_own():
    assert changes(make(), make(line={})) == [("line", None, {"name": "", "units": "0"})]
    assert changes(make(maybe=""), make()) == [("maybe", "", None)]
    assert changes(make(yes=False), make(number=0)) == [("yes", False, None), ("number", None, 0)]
