"""Protos that cannot work: each with its place, its reason and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eskit.codegen.generate import generate
from eskit.errors import Diagnostic, ProjectError, SchemaInvalid
from tests.support.coded import coded
from tests.support.trees import findings, generate_into, load, proto, write_protos

STATE = """
message Thing {
  option (eventsourcing.aggregate_root) = {id_field: "thing_id"};
  string thing_id = 1;
}
"""


def error(code: str, message: str, hint: str, line: int, column: int, width: int) -> Diagnostic:
    return Diagnostic(
        code=code,
        message=message,
        hint=hint,
        file="thing/v1/thing.proto",
        line=line,
        column=column,
        width=width,
    )


def refused(folder: Path, body: str, package: str = "thing.v1") -> list[Diagnostic]:
    return findings(folder, {"thing/v1/thing.proto": proto(package, body)})


def test_a_syntax_error(tmp_path):
    assert refused(tmp_path, "message Thing {\n  string name 1;\n}\n") == [
        error(
            "PROTO_INVALID",
            "Missing field number.",
            "A field is declared like: string name = 1;",
            5,
            15,
            1,
        )
    ]


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (
            'message A { option (eventsourcing.agregate_root) = {id_field: "a"}; }',
            'Option "(eventsourcing.agregate_root)" unknown.',
            "For messages there are aggregate_root and event",
        ),
        (
            'message A { option (eventsourcing.aggregate_root) = {idfield: "a"}; }',
            'Error while parsing option value for "aggregate_root"',
            "Did you mean id_field?",
        ),
        (
            "message A { option (eventsourcing.event) = {of: 1}; }",
            'Error while parsing option value for "event"',
            "It has: aggregate_name.",
        ),
        (
            "message A { reserved 1; string a = 1; }",
            'Field "a" uses reserved number 1.',
            "Give it another number, such as 2.",
        ),
        (
            "enum E { ONE = 1; }",
            "The first enum value must be zero",
            "Put a value with the number 0 first",
        ),
        (
            "service S { rpc A(A) returns (A); } message A {}",
            '"A" is not a message type.',
            "Something else has this name here, such as the rpc",
        ),
        ("message A { Inconnu é = 1; }", "Interpreting non ascii", "Save the file as UTF-8"),
    ],
)
def test_what_protoc_refuses_comes_with_what_to_do(body, message, hint, tmp_path):
    found = refused(tmp_path, body)

    assert found[0].message.startswith(message)
    assert found[0].hint.startswith(hint)
    assert not any("Suggested" in one.message for one in found)


def test_a_file_without_syntax_is_warned_of_and_protocs_own_log_is_not_shown(tmp_path):
    (warning,) = generate_into(tmp_path / "app", {"a.proto": "package a;\n"}).warnings

    assert warning == Diagnostic(
        severity="warning",
        code="PROTO_WARNING",
        message="The file does not name its syntax and is read as proto2.",
        hint='Start it with: syntax = "proto3";',
        file=str(tmp_path / "proto" / "a.proto"),
    )


def test_lines_are_counted_as_protoc_counts_them(tmp_path):
    (found,) = refused(tmp_path, "// A form feed: \f and \u2028.\nmessage A { Nothing a = 1; }\n")

    assert (found.line, found.column, found.width) == (5, 13, 7)


BANK = Path(__file__).parents[2] / "templates" / "project" / "bank" / "proto"


def test_a_proto_that_was_copied_beside_itself_is_one_finding(tmp_path):
    text = (BANK / "account/v1/account.proto").read_text()

    (found,) = findings(
        tmp_path, {"account/v1/account.proto": text, "account/v1/other.proto": text}
    )

    assert found.code == "DECLARED_TWICE"
    assert (found.file, found.line) == ("account/v1/other.proto", 9)
    assert found.message == (
        "account.v1.AccountCommandService and 25 more are declared in both files: "
        "account/v1/account.proto and account/v1/other.proto"
    )
    assert found.hint.startswith("Keep one of the two declarations")


def test_an_aggregate_in_two_protos_is_one_finding_beside_what_else_is_wrong(tmp_path):
    again = STATE + "message Other {\n  Nothing name = 1;\n}\n"

    twin, other = findings(
        tmp_path,
        {
            "thing/v1/a.proto": proto("thing.v1", STATE),
            "thing/v1/b.proto": proto("thing.v1", again),
        },
    )

    assert twin.message == (
        "thing.v1.Thing is declared in both files: thing/v1/a.proto and thing/v1/b.proto"
    )
    assert (twin.file, twin.line, twin.width) == ("thing/v1/b.proto", 5, 5)
    assert other.message == '"Nothing" is not defined.'


def test_enum_values_that_clash_are_told_as_protoc_does(tmp_path):
    enum = "enum {} {{\n  UNSET = 0;\n}}\n"

    found = findings(
        tmp_path,
        {
            "thing/v1/a.proto": proto("thing.v1", enum.format("Colour")),
            "thing/v1/b.proto": proto("thing.v1", enum.format("Size")),
        },
    )

    assert found[0].message.startswith('"thing.v1.UNSET" is already defined in file')
    assert "DECLARED_TWICE" not in {one.code for one in found}


def test_an_unknown_type(tmp_path):
    assert refused(tmp_path, "message Thing {\n  Nothing name = 1;\n}\n") == [
        error(
            "PROTO_INVALID",
            '"Nothing" is not defined.',
            "Declare it, or import the file that declares it.",
            5,
            3,
            7,
        )
    ]


def test_a_missing_import_and_what_follows_from_it(tmp_path):
    found = findings(
        tmp_path, {"thing/v1/thing.proto": 'syntax = "proto3";\nimport "no/such.proto";\n'}
    )

    assert [(d.file, d.line, d.column, d.message) for d in found] == [
        ("thing/v1/thing.proto", 2, 1, 'Import "no/such.proto" was not found or had errors.'),
    ]
    assert found[0].hint == "Put the file under a proto root, or correct the import path."


def test_an_aggregate_without_id_field(tmp_path):
    body = """
message Thing {
  option (eventsourcing.aggregate_root) = {type_name: "Thing"};
  string thing_id = 1;
}
"""
    assert refused(tmp_path, body) == [
        error(
            "ID_FIELD_MISSING",
            "Aggregate thing.v1.Thing has no id_field",
            'Add to its option: id_field: "thing_id". It names the string field that holds the id, '
            "in the state and in commands.",
            6,
            3,
            61,
        )
    ]


def test_an_id_field_that_is_misspelt(tmp_path):
    body = """
message Thing {
  option (eventsourcing.aggregate_root) = {
    id_field: "thing_idd"
  };
  string thing_id = 1;
}
"""
    assert refused(tmp_path, body) == [
        error(
            "ID_FIELD_UNKNOWN",
            "thing.v1.Thing has no field 'thing_idd'",
            "Did you mean thing_id?",
            7,
            15,
            11,
        )
    ]


@pytest.mark.parametrize(
    ("declaration", "column", "width"),
    [("int64 thing_id = 4;", 3, 5), ("repeated string thing_id = 4;", 3, 29)],
)
def test_an_id_field_that_is_no_string(declaration, column, width, tmp_path):
    body = STATE.replace("string thing_id = 1;", declaration)

    assert refused(tmp_path, body) == [
        error(
            "ID_FIELD_NOT_A_STRING",
            "thing.v1.Thing.thing_id is the id of an aggregate, but not a single string",
            "Declare it as: string thing_id = 4;",
            7,
            column,
            width,
        )
    ]


def test_a_command_whose_id_is_no_string(tmp_path):
    body = (
        STATE
        + """
service ThingCommandService { rpc Make(MakeCommand) returns (MakeResponse); }
message MakeCommand { int32 thing_id = 3; }
message MakeResponse {}
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "ID_FIELD_NOT_A_STRING",
            "thing.v1.MakeCommand.thing_id is the id of Thing, but not a single string",
            "Declare it as: string thing_id = 3;",
            11,
            23,
            5,
        )
    ]


def test_an_event_of_an_unknown_aggregate_suggests_the_nearest(tmp_path):
    body = (
        STATE
        + """
message ThingMadeEvent {
  option (eventsourcing.event) = {aggregate_name: "Thign"};
}
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "UNKNOWN_AGGREGATE",
            "Event thing.v1.ThingMadeEvent is of an unknown aggregate 'Thign'",
            "Did you mean Thing?",
            11,
            51,
            7,
        )
    ]


def test_an_event_that_names_the_message_instead_of_the_type_name(tmp_path):
    body = (
        STATE.replace('"thing_id"}', '"thing_id" type_name: "Gadget"}')
        + """
message ThingMadeEvent {
  option (eventsourcing.event) = {aggregate_name: "Thing"};
}
"""
    )
    assert [d.hint for d in refused(tmp_path, body)] == [
        "The type_name of thing.v1.Thing is Gadget."
    ]


def test_an_event_of_no_aggregate(tmp_path):
    body = "message ThingMade { option (eventsourcing.event) = {}; }\n"

    assert refused(tmp_path, body) == [
        error(
            "UNKNOWN_AGGREGATE",
            "Event thing.v1.ThingMade names no aggregate",
            "Mark the state message with (eventsourcing.aggregate_root).",
            4,
            21,
            34,
        )
    ]


def test_a_service_of_an_unknown_aggregate(tmp_path):
    body = (
        STATE
        + """
service ThingCommandService {
  option (eventsourcing.service) = {aggregate_name: "Thingy"};
  rpc Make(MakeCommand) returns (MakeResponse);
}
message MakeCommand {}
message MakeResponse {}
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "UNKNOWN_AGGREGATE",
            "Service thing.v1.ThingCommandService is bound to an unknown aggregate 'Thingy'",
            "Did you mean Thing?",
            11,
            53,
            8,
        )
    ]


def test_a_service_of_a_state_that_is_none(tmp_path):
    body = (
        STATE
        + """
service ThingCommandService {
  option (eventsourcing.service) = {aggregate_root_message: "thing.v1.Think"};
  rpc Make(MakeCommand) returns (MakeResponse);
}
message MakeCommand {}
message MakeResponse {}
"""
    )
    (found,) = refused(tmp_path, body)
    assert (found.message, found.hint, found.line, found.column, found.width) == (
        "Service thing.v1.ThingCommandService is bound to thing.v1.Think, which is no aggregate",
        "Did you mean thing.v1.Thing?",
        11,
        61,
        16,
    )


def test_two_aggregates_with_one_name(tmp_path):
    body = (
        STATE
        + """
message Other {
  option (eventsourcing.aggregate_root) = {id_field: "id" type_name: "Thing"};
  string id = 1;
}
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "DUPLICATE_AGGREGATE",
            "thing.v1.Thing and thing.v1.Other are both aggregates called 'Thing'",
            "Give one of them another type_name: it is the first part of every stream's name. Of "
            "two versions of one state, only the current one has the option.",
            11,
            70,
            7,
        )
    ]


def test_a_type_name_that_no_stream_can_have(tmp_path):
    body = STATE.replace('"thing_id"}', '"thing_id" type_name: "my-thing"}')

    assert refused(tmp_path, body) == [
        error(
            "AGGREGATE_NAME",
            "thing.v1.Thing: 'my-thing' is not an aggregate type",
            "A type starts with a letter and has only letters, digits and underscores, 255 at "
            "most.",
            6,
            76,
            10,
        )
    ]


def test_two_events_that_would_be_one_method(tmp_path):
    body = (
        STATE
        + """
message ThingMade { option (eventsourcing.event) = {aggregate_name: "Thing"}; }
message ThingMadeEvent { option (eventsourcing.event) = {aggregate_name: "Thing"}; }
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "NAME_CLASH",
            "Events thing.v1.ThingMade and thing.v1.ThingMadeEvent would both be on_thing_made of "
            "Thing",
            "Rename one of them, or mark the one that is not emitted any more as deprecated.",
            11,
            9,
            14,
        )
    ]


def test_two_rpcs_that_would_be_one_method(tmp_path):
    body = (
        STATE
        + """
service ThingCommandService {
  rpc MakeThing(MakeCommand) returns (MakeResponse);
}
service MoreThings {
  option (eventsourcing.service) = {aggregate_name: "Thing"};
  rpc makeThing(MakeCommand) returns (MakeResponse);
}
message MakeCommand {}
message MakeResponse {}
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "NAME_CLASH",
            "thing.v1.ThingCommandService.MakeThing and thing.v1.MoreThings.makeThing would both "
            "be make_thing of Thing",
            "Rename one of them, or mark the old one as deprecated.",
            15,
            7,
            9,
        )
    ]


def test_an_rpc_that_would_be_the_method_of_an_event(tmp_path):
    body = (
        STATE
        + """
service ThingCommandService {
  rpc OnMade(MakeCommand) returns (MakeResponse);
}
message Made { option (eventsourcing.event) = {aggregate_name: "Thing"}; }
message MakeCommand {}
message MakeResponse {}
"""
    )
    assert [d.message for d in refused(tmp_path, body)] == [
        "thing.v1.Made and thing.v1.ThingCommandService.OnMade would both be on_made of Thing"
    ]


def test_two_services_that_would_generate_one_class(tmp_path):
    body = """
service Report { rpc Get(Request) returns (Request); }
service ReportService { rpc Find(Request) returns (Request); }
message Request {}
"""
    assert refused(tmp_path, body) == [
        error(
            "NAME_CLASH",
            "thing.v1.Report and thing.v1.ReportService would both generate ReportHandler",
            "Rename one of them, or leave one out: name it in exclude in the settings.",
            6,
            9,
            13,
        )
    ]


def test_a_streaming_rpc_of_an_aggregate(tmp_path):
    body = (
        STATE
        + """
service ThingQueryService {
  rpc Watch(Request) returns (stream Request);
}
message Request {}
"""
    )
    assert refused(tmp_path, body) == [
        error(
            "STREAMING_RPC",
            "thing.v1.ThingQueryService.Watch streams, but a command or query is one request with "
            "one response",
            "Remove the word stream: page through long answers, follow events with a projection.",
            11,
            31,
            6,
        )
    ]


def test_two_fields_with_one_json_name(tmp_path):
    body = 'syntax = "proto2";\npackage a;\nmessage T {\n  optional string foo_bar = 1;\n'
    body += "  optional string fooBar = 2;\n}\n"

    (found,) = findings(tmp_path, {"thing/v1/thing.proto": body})

    assert (found.code, found.line, found.column, found.width) == ("JSON_NAME_CLASH", 5, 19, 6)
    assert found.message == "foo_bar and fooBar of a.T have one JSON name, fooBar"
    assert found.hint.startswith('Give one of them its own: [json_name = "…"].')


def test_two_fields_may_have_one_json_name_if_the_message_says_so(tmp_path):
    body = "message T { option deprecated_legacy_json_field_conflicts = true;"
    body += " string foo_bar = 1; string fooBar = 2; }"
    generate_into(tmp_path / "json_twins", {"twins.proto": proto("twins", body)})

    twins = load(tmp_path, "json_twins.gen.twins_pb2")

    assert twins.T(foo_bar="a", fooBar="b").fooBar == "b"


@pytest.mark.parametrize("package", ["events", "events.v1", "tenants.v1"])
def test_a_package_where_published_events_are(package, tmp_path):
    body = "service Things { rpc Get(Request) returns (Request); }\nmessage Request {}\n"
    first = package.partition(".")[0]

    assert refused(tmp_path, body, package) == [
        error(
            "RESERVED_PACKAGE",
            f"Package {package} starts with {first!r}, where published events are",
            "Put another word in front: JetStream would answer the requests of its services.",
            2,
            1,
            len(f"package {package};"),
        )
    ]


@pytest.mark.parametrize(
    ("package", "reserved"), [("facts.bank.v1", True), ("facts.v1", False), ("facts.banks", False)]
)
def test_a_package_that_starts_with_the_projects_own_prefix(tmp_path, package, reserved):
    body = "service Things { rpc Get(Request) returns (Request); }\nmessage Request {}\n"
    root = write_protos(tmp_path / "proto", {"a.proto": proto(package, body)})

    found = []
    try:
        generate(
            proto_roots=[root], output=tmp_path / "gen", app_name="app", nats_prefix="facts.bank"
        )
    except SchemaInvalid as error:
        found = [diagnostic.code for diagnostic in error.diagnostics]

    assert found == (["RESERVED_PACKAGE"] if reserved else [])


def test_a_keyword_whose_name_in_python_is_taken(tmp_path):
    body = "message Outer {\n  message None {}\n  string None_ = 1;\n}\n"

    assert refused(tmp_path, body) == [
        error(
            "PYTHON_KEYWORD",
            "None of thing.v1.Outer is a keyword in Python, and None_ is there already",
            "Rename one of the two.",
            4,
            9,
            5,
        )
    ]


def test_two_files_that_would_be_one_module(tmp_path):
    empty = 'syntax = "proto3";\n'

    found = findings(tmp_path, {"a-b.proto": empty, "a_b.proto": empty})

    assert [(d.file, d.code, d.message) for d in found] == [
        ("a_b.proto", "NAME_CLASH", "a-b.proto and a_b.proto would both generate a_b_pb2.py")
    ]


def test_two_roots_with_one_file(tmp_path):
    text = 'syntax = "proto3";\n'
    one = write_protos(tmp_path / "one", {"a/x.proto": text})
    two = write_protos(tmp_path / "two", {"a/x.proto": text})

    with pytest.raises(SchemaInvalid) as caught:
        generate(proto_roots=[one, two], output=tmp_path / "gen", app_name="app")

    assert [d.code for d in caught.value.diagnostics] == ["DUPLICATE_FILE"]


def test_a_file_whose_name_is_not_utf8(tmp_path):
    root = write_protos(tmp_path / "proto", {"a.proto": 'syntax = "proto3";\n'})
    (root / "a.proto").rename(os.fsdecode(os.fsencode(root) + b"/\xff.proto"))

    with pytest.raises(
        ProjectError,
        check=coded("PROJECT_INVALID"),
        match=r"The file name \\xff\.proto is not UTF-8",
    ):
        generate(proto_roots=[root], output=tmp_path / "gen", app_name="thing")


def test_columns_count_characters_behind_tabs_and_umlauts(tmp_path):
    body = '/* ü */\tmessage Thing { option (eventsourcing.aggregate_root) = {id_field: "x"}; }\n'

    (found,) = refused(tmp_path, body)

    line = proto("thing.v1", body).splitlines()[found.line - 1]
    assert line[found.column - 1 : found.column - 1 + found.width] == '"x"'


@pytest.mark.promise("generation-is-all-or-nothing")
def test_all_problems_are_reported_in_one_run_in_the_order_of_places(tmp_path):
    body = (
        STATE.replace('"thing_id"}', '"nothing"}')
        + """
message ThingMade { option (eventsourcing.event) = {aggregate_name: "Thign"}; }
service ThingQueryService { rpc Watch(stream Thing) returns (Thing); }
"""
    )
    assert [(d.line, d.code) for d in refused(tmp_path, body)] == [
        (6, "ID_FIELD_UNKNOWN"),
        (10, "UNKNOWN_AGGREGATE"),
        (11, "STREAMING_RPC"),
    ]


def test_the_error_says_how_many_problems_there_are(tmp_path):
    root = write_protos(
        tmp_path / "proto", {"a.proto": proto("a", STATE.replace('"thing_id"', '"x"'))}
    )

    with pytest.raises(SchemaInvalid) as caught:
        generate(proto_roots=[root], output=tmp_path / "gen", app_name="app")

    assert caught.value.message == "1 problem in the protos; nothing was written"
