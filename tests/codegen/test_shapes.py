"""Every proto shape generates code that can be imported and used."""

from __future__ import annotations

import ast
import importlib
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eskit.codegen import generate as generator
from eskit.codegen.generate import generate
from eskit.domain.events import NewEvent
from eskit.domain.messages import decode, message_type
from eskit.errors import UpcastingInvalid
from eskit.resources import templates_dir
from tests.codegen.random_protos import messages
from tests.codegen.shapes import SHAPES, TWO_AGGREGATES
from tests.support.trees import (
    findings,
    generate_example,
    generate_into,
    importable,
    load,
    proto,
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every shape as package ``shape_<name>`` in one folder."""
    folder = tmp_path_factory.mktemp("shapes")
    for name, protos in SHAPES.items():
        sources = tmp_path_factory.mktemp(name)
        generate_into(sources / f"shape_{name}", protos)
        (sources / f"shape_{name}").rename(folder / f"shape_{name}")
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_every_generated_module_can_be_imported(name, shapes):
    root = shapes / f"shape_{name}"
    with importable(shapes):
        for path in sorted(root.rglob("*.py")):
            import_at(shapes, path)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_message_of_every_shape_comes_back_from_its_bytes(name, shapes, data):
    with importable(shapes):
        found = [
            descriptor
            for path in sorted((shapes / f"shape_{name}").rglob("*_pb2.py"))
            for descriptor in import_at(shapes, path).DESCRIPTOR.message_types_by_name.values()
        ]
        assert found
        for descriptor in found:
            message = data.draw(messages(descriptor))
            assert decode(descriptor.full_name, NewEvent(message).data) == message


def import_at(folder: Path, path: Path) -> Any:
    return importlib.import_module(".".join(path.relative_to(folder).with_suffix("").parts))


def test_every_kind_of_field_survives_bytes_and_pickle(shapes):
    pb = load(shapes, "shape_kinds.gen.kinds.v1.kinds_pb2")
    kinds = pb.Kinds(
        a_double=1.5,
        some_bytes=b"\0",
        colour=pb.Kinds.COLOUR_RED,
        inner={"innermost": {"number": 3}},
        maybe="",
        numbers=[1, 2],
        by_number={7: pb.Kinds.Inner(text="seven")},
        word="w",
    )
    kinds.at.GetCurrentTime()

    assert pb.Kinds.FromString(kinds.SerializeToString()) == kinds
    assert pickle.loads(pickle.dumps(kinds)) == kinds  # noqa: S301
    assert pickle.loads(pickle.dumps(kinds.inner)) == kinds.inner  # noqa: S301
    assert kinds.HasField("maybe")
    assert kinds.WhichOneof("choice") == "word"


def test_fields_called_like_keywords_and_builtins_can_be_set(shapes):
    pb = load(shapes, "shape_names.gen.names.v1.names_pb2")

    names = pb.Names(**{"from": "a", "class": 2}, self="s", list=["x"], int=5, str=b"y")

    assert getattr(names, "from") == "a"
    assert names.self == "s"
    assert pb.Names.FromString(names.SerializeToString()) == names


def test_fields_called_like_what_a_message_has_keep_their_values(shapes):
    pb = load(shapes, "shape_names.gen.names.v1.names_pb2")

    hidden = pb.Hidden(DESCRIPTOR="d", HasField=True, ListFields=[1], _t="t", text="x")

    assert hidden.DESCRIPTOR == "d"
    assert pb.Hidden.FromString(pb.Hidden.SerializeToString(hidden)) == hidden
    assert message_type(hidden) == "names.v1.Hidden"


def test_enum_values_called_like_what_enums_and_messages_have_keep_their_numbers(shapes):
    pb = load(shapes, "shape_names.gen.names.v1.names_pb2")

    values = pb.Values(kind=pb.Values.Kind.Value("Value"))

    assert pb.Values.Kind.Name(values.kind) == "Value"
    assert message_type(values) == "names.v1.Values"
    assert pb.Clear == 0


def test_a_proto_whose_path_is_not_ascii_can_be_imported(shapes):
    pb = load(shapes, "shape_paths.gen.all_pb2")

    assert pb.All(d={}).d.DESCRIPTOR.full_name == "paths.d.D"


def test_groups_editions_and_custom_options_are_as_protobuf_has_them(shapes):
    old = load(shapes, "shape_proto2.gen.proto2.v1.old_pb2").Old(name="x", picked={"x": 3})
    dated = load(shapes, "shape_editions.gen.editions.v1.dated_pb2").Dated(needed="n", part={})
    marked = load(shapes, "shape_options.gen.marked_pb2").Marked
    aliases = load(shapes, "shape_options.gen.acme.options_pb2").aliases

    level = marked.Level.DESCRIPTOR.values_by_name["LEVEL_HIGH"]

    assert type(old).FromString(old.SerializeToString()) == old
    assert old.raw == b"\xff'\n"
    assert type(dated).FromString(dated.SerializeToString()) == dated
    assert not dated.HasField("maybe")
    assert list(level.GetOptions().Extensions[aliases]) == ["top"]
    assert marked.LEVEL_HIGH == marked.LEVEL_TOP == 1


def test_messages_carry_their_real_module_wherever_it_is(shapes):
    pb = load(shapes, "shape_paths.gen.class_.x_y.z_pb2")

    assert pb.A.__module__ == "shape_paths.gen.class_.x_y.z_pb2"


def test_a_public_import_offers_the_names_of_the_other_file(shapes):
    user = load(shapes, "shape_paths.gen.all_pb2")

    assert user.A is load(shapes, "shape_paths.gen.class_.x_y.z_pb2").A


def test_two_aggregates_in_a_package_and_two_services_on_one(shapes):
    """Two aggregates in one package do not get in each other's way."""
    es = load(shapes, "shape_two_aggregates.gen.two.v1.two_es")

    order, cart = es.OrderAggregate.__aggregate__, es.CartAggregate.__aggregate__

    assert [m.python_name for m in order.commands] == ["place"]
    assert [m.python_name for m in cart.commands] == ["fill", "id_", "empty"]
    assert [e.python_name for e in order.events] == ["on_order_placed", "on_iban_changed"]
    assert [e.python_name for e in cart.events] == ["on_cart_filled"]
    assert len(es.EVENTS) == 3


def test_messages_called_like_keywords_are_states_events_and_requests(shapes):
    es = load(shapes, "shape_keywords.gen.keywords.v1.keywords_es")
    pb = load(shapes, "shape_keywords.gen.keywords.v1.keywords_pb2")

    class Class(es.classAggregate):
        def pass_(self, command):
            self.emit(pb.None_(**{"from": self.id}))
            self.emit(pb.Outer.import_(inner=pb.Outer.import_.def_(x="y")))
            return pb.Outer.import_()

        def on_none(self, event):
            setattr(self.state, "from", getattr(event, "from"))

        def on__(self, event): ...

        def on_import(self, event):
            self.state.lambda_kind = pb.class_.lambda_.Value("LAMBDA_UNSPECIFIED")

    instance = Class("c-1")
    instance.pass_(getattr(pb, "yield")())

    assert getattr(instance.state, "from") == "c-1"
    assert [message_type(event) for event in es.EVENTS] == [
        "keywords.v1.None",
        "keywords.v1._",
        "keywords.v1.Outer.import",
    ]
    assert pb.None_ is getattr(pb, "None")
    assert pickle.loads(pickle.dumps(pb.Outer.import_())) == pb.Outer.import_()  # noqa: S301


def test_an_aggregate_without_events_can_be_used(shapes):
    """An aggregate that has no event yet is one."""
    es = load(shapes, "shape_no_events.gen.noevents.v1.quiet_es")

    class Quiet(es.QuietAggregate):
        pass

    assert Quiet("q-1").id == "q-1"
    assert Quiet.__aggregate__.events == ()


def test_events_of_an_aggregate_may_be_in_another_package(shapes):
    """Events of another package are found and imported."""
    es = load(shapes, "shape_other_package.gen.spread.state.v1.state_es")

    assert [message_type(e.event) for e in es.SpreadAggregate.__aggregate__.events] == [
        "spread.facts.v1.Spreading"
    ]
    assert [m.full_name for m in es.SpreadAggregate.__aggregate__.commands] == [
        "spread.v1.SpreadCommandService.Butter"
    ]


def test_services_of_no_aggregate_are_handled_by_hand(shapes):
    es = load(shapes, "shape_no_aggregate.gen.reports.v1.reports_es")
    sdk = load(shapes, "shape_no_aggregate.gen.sdk").ShapeNoAggregateSdk(None)

    assert es.REPORT_COMMAND_SERVICE.methods[0].python_name == "import_"
    assert es.LOOKUP.methods[0].kind == "query"
    assert {"import_", "lambda_"} <= set(dir(sdk.report))
    assert not hasattr(es, "EMPTY")


def test_two_files_that_need_each_others_services_import_in_either_order(shapes):
    b = load(shapes, "shape_crosswise.gen.crosswise.b_es")
    a = load(shapes, "shape_crosswise.gen.crosswise.a_es")

    assert a.AAggregate.__aggregate__.commands[0].service == "crosswise.b.ACommandService"
    assert b.BAggregate.__aggregate__.commands[0].service == "crosswise.a.BCommandService"


def test_comments_become_docstrings_word_for_word(shapes):
    es = load(shapes, "shape_docs.gen.docs.v1.docs_es")

    text = es.DocAggregate.__doc__
    assert text.startswith('Has """quotes""", a \\ and a line that is longer')
    assert 'with an indent "at its end"' in text
    assert es.DocAggregate.on_documented.__doc__.strip() == '"Quoted"'


def test_a_comment_that_is_not_utf8_is_a_docstring_as_far_as_it_can_be_read(tmp_path):
    root = tmp_path / "proto"
    root.mkdir()
    text = 'syntax = "proto3";\npackage latin.v1;\n// Été.\nmessage A { string a = 1; }\n'
    (root / "a.proto").write_bytes(text.encode("latin-1"))

    generate(proto_roots=[root], output=tmp_path / "gen", app_name="app")

    assert '"""\ufffdt\ufffd."""' in (tmp_path / "gen" / "a_pb2.pyi").read_text()


def test_the_service_option_decides_before_the_name(tmp_path):
    """(eventsourcing.service) is what binds a service; its name is only the fallback."""
    text = proto(
        "honoured.v1",
        """
message A { option (eventsourcing.aggregate_root) = {id_field: "id"}; string id = 1; }
message B { option (eventsourcing.aggregate_root) = {id_field: "id"}; string id = 1; }
service ACommandService {
  option (eventsourcing.service) = {aggregate_name: "B"};
  rpc ByName(Do) returns (Do);
}
service BQueryService {
  option (eventsourcing.service) = {aggregate_root_message: "honoured.v1.A"};
  rpc ByState(Do) returns (Do);
}
service Office {
  option (eventsourcing.service) = {aggregate_name: "A" aggregate_root_message: "honoured.v1.A"};
  rpc ByBoth(Do) returns (Do);
}
service BCommandService { rpc ByConvention(Do) returns (Do); }
message Do { string id = 1; }
""",
    )
    generate_into(tmp_path / "honoured_app", {"honoured/v1/x.proto": text})
    es = load(tmp_path, "honoured_app.gen.honoured.v1.x_es")
    sdk = load(tmp_path, "honoured_app.gen.sdk")

    assert [m.name for m in es.AAggregate.__aggregate__.commands] == ["ByBoth"]
    assert [m.name for m in es.BAggregate.__aggregate__.commands] == ["ByName", "ByConvention"]
    assert hasattr(sdk.AClient, "by_state")
    assert not hasattr(sdk.BClient, "by_state")


def test_the_event_option_alone_makes_an_event(bank_gen):
    """An event need not be called ...Event, and V1 of one is not left out."""
    events = {message_type(e.event): e for e in bank_gen.es.AccountAggregate.__aggregate__.events}

    old = events["account.v1.AccountOpenedEventV1"]
    assert old.deprecated
    assert old.python_name == "on_account_opened_event_v1"
    assert bank_gen.pb.AccountOpenedEventV1 in bank_gen.es.EVENTS


def test_an_event_without_the_suffix_has_a_method(shapes):
    """The suffix Event is a convention, not a condition."""
    es = load(shapes, "shape_two_aggregates.gen.two.v1.two_es")

    assert "on_order_placed" in es.OrderAggregate.__abstractmethods__


def test_a_deprecated_event_needs_no_method_and_says_that_it_needs_an_upcaster(bank_gen):
    old = bank_gen.pb.AccountOpenedEventV1()
    assert "on_account_opened_event_v1" not in bank_gen.es.AccountAggregate.__abstractmethods__

    with pytest.raises(
        UpcastingInvalid, match=r"No upcaster for account\.v1\.AccountOpenedEventV1"
    ):
        bank_gen.es.AccountAggregate.on_account_opened_event_v1(None, old)


def test_services_in_another_file_get_a_client_and_their_place_in_the_sdk(tmp_path):
    """State, events and services may be in three files."""
    generate_example("subscription", tmp_path / "subscription_app")
    sdk = load(tmp_path, "subscription_app.gen.sdk").SubscriptionSdk(None)

    assert {"create_subscription", "cancel_subscription", "get_subscription"} <= set(
        dir(sdk.subscription)
    )


def test_the_event_type_is_the_protobuf_full_name_whatever_the_go_package_is(tmp_path):
    """Neither the Python module nor go_package is part of an event's type."""
    text = TWO_AGGREGATES.replace("two.v1", "renamed.v1").replace(
        'import "', 'option go_package = "example.com/x;xv1";\nimport "', 1
    )
    generate_into(tmp_path / "types_app", {"somewhere/else.proto": text})
    es = load(tmp_path, "types_app.gen.somewhere.else_es")

    assert [message_type(event) for event in es.EVENTS] == [
        "renamed.v1.OrderPlaced",
        "renamed.v1.IBANChangedEvent",
        "renamed.v1.CartFilledEvent",
    ]


def test_a_wrong_id_field_stops_generation(tmp_path):
    """Nothing is skipped silently."""
    text = SHAPES["no_events"]["noevents/v1/quiet.proto"]
    for wrong in (
        text.replace('id_field: "id"', ""),
        text.replace('id_field: "id"', 'id_field: "no"'),
    ):
        assert len(findings(tmp_path, {"q.proto": wrong})) == 1


def test_a_project_made_for_go_generates_unchanged(tmp_path):
    """The options of the original, its import path, and its own copy of the options file."""
    copied = """\
syntax = "proto3";
package eventsourcing;
option go_package = "github.com/example/pkg/eventsourcing;eventsourcing";
import "google/protobuf/descriptor.proto";
// An older copy, with other comments and an option less.
extend google.protobuf.MessageOptions { AggregateRootOptions aggregate_root = 50003; }
message AggregateRootOptions { string id_field = 1; }
"""
    account = proto(
        "legacy.v1",
        """
option go_package = "github.com/example/pb/legacy/v1;legacyv1";
message Legacy {
  option (eventsourcing.aggregate_root) = {
    id_field: "legacy_id",
    type_name: "Legacy"
  };
  string legacy_id = 1;
}
message LegacyOpenedEvent {
  option (eventsourcing.event) = { aggregate_name: "Legacy" };
  string legacy_id = 1;
}
service LegacyCommandService {
  option (eventsourcing.service) = {
    aggregate_name: "Legacy",
    aggregate_root_message: "Legacy"
  };
  rpc OpenLegacy(OpenLegacyCommand) returns (OpenLegacyResponse);
}
message OpenLegacyCommand { string legacy_id = 1; }
message OpenLegacyResponse { string legacy_id = 1; }
""",
    )

    result = generate_into(
        tmp_path / "legacy_app",
        {"eventsourcing/options.proto": copied, "legacy/v1/legacy.proto": account},
    )

    assert not any("options" in path.name for path in result.written)
    es = load(tmp_path, "legacy_app.gen.legacy.v1.legacy_es")
    assert es.LegacyAggregate.__aggregate__.id_field == "legacy_id"


def test_two_versions_of_an_aggregate_are_two_attributes_of_the_sdk(tmp_path):
    """No attribute, class or import of the SDK is there twice."""
    v2 = TWO_AGGREGATES.replace("two.v1", "two.v2")
    v2 = v2.replace('id_field: "order_id"', 'id_field: "order_id" type_name: "OrderV2"')
    v2 = v2.replace('aggregate_name: "Order"', 'aggregate_name: "OrderV2"')
    v2 = v2.replace("OrderCommandService", "OrderV2CommandService").replace("Cart", "CartV2")
    generate_into(
        tmp_path / "versions_app", {"two/v1/two.proto": TWO_AGGREGATES, "two/v2/two.proto": v2}
    )
    sdk = load(tmp_path, "versions_app.gen.sdk")

    attributes = vars(sdk.VersionsAppSdk(None))
    text = Path(sdk.__file__).read_text()

    assert list(attributes) == ["order", "cart", "order_v2", "cart_v2"]
    assert len({type(client) for client in attributes.values()}) == 4
    imports = [line for line in text.splitlines() if "import" in line]
    assert len(imports) == len(set(imports))


def test_two_versions_that_would_be_one_attribute_are_refused(tmp_path):
    """Said while generating, not by a broken SDK."""
    v1 = SHAPES["no_events"]["noevents/v1/quiet.proto"]
    v2 = v1.replace("noevents.v1", "noevents.v2")

    found = findings(tmp_path, {"noevents/v1/quiet.proto": v1, "noevents/v2/quiet.proto": v2})

    assert [(finding.code, finding.file) for finding in found] == [
        ("DUPLICATE_AGGREGATE", "noevents/v2/quiet.proto")
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_generated_code_names_nothing_of_another_project(name, shapes):
    """No example's names in comments, docstrings or code."""
    protos = " ".join(SHAPES[name].values())
    for path in (shapes / f"shape_{name}").rglob("*.py"):
        text = path.read_text()
        for word in ("Account", "OpenAccount", "accountv1", "Deposit"):
            assert word not in text or word in protos


def test_every_function_of_the_generator_is_used():
    """No helper that nobody calls."""
    package = Path(generator.__file__).parent
    sources = [*package.parent.rglob("*.py"), *templates_dir().rglob("*.jinja")]
    words = Counter(word for path in sources for word in re.findall(r"\w+", path.read_text()))
    entry_points = {"run", "regenerate"}  # of pyproject.toml and of tests/generated.py

    unused = [
        f"{path.name}: {node.name}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        if words[node.name] < 2 and not node.name.startswith("__")
        if node.name not in entry_points
    ]

    assert unused == []
