"""What the settings leave out, and what of other people's protos is skipped anyway."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from eskit.codegen.generate import GenResult, generate
from eskit.codegen.reading.protoc import parse_protos
from eskit.errors import ProjectError
from tests.codegen.shapes import VENDORED
from tests.support.coded import coded
from tests.support.trees import generate_into, importable, proto

OWN = proto(
    "shop.v1",
    """
import "vendor/types.proto";
message Order {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
  vendor.types.Money price = 2;
}
""",
)
TYPES = """\
syntax = "proto3";
/* package of.a.comment; */
package vendor.types;  // import "vendor/unused.proto";
import public "vendor/money.proto";
service Rates { rpc Get(Money) returns (Money); }
"""
MONEY = 'syntax = "proto3"; package vendor.types; message Money { int64 cents = 1; }'
PROTOS = {
    "shop/v1/order.proto": OWN,
    "vendor/types.proto": TYPES,
    "vendor/money.proto": MONEY,
    "vendor/unused.proto": 'syntax = "proto3"; package vendor.unused; message Unused {}',
    "vendor/broken.proto": 'syntax = "proto3"; package vendor.broken; message {',
}


def generated(package: Path, protos: dict[str, str], **options: object) -> set[str]:
    generate_into(package, protos, **options)
    found = {path.relative_to(package / "gen").as_posix() for path in package.rglob("gen/**/*.py")}
    return {path for path in found if not path.endswith("__init__.py")}


@pytest.mark.parametrize("entry", ["vendor/", "vendor/*.proto", "vendor"])
def test_of_what_is_left_out_only_messages_that_others_need_are_generated(entry, tmp_path):
    found = generated(tmp_path / f"left_{entry.count('*')}{len(entry)}", PROTOS, exclude=[entry])

    assert found == {
        "shop/v1/order_pb2.py",
        "shop/v1/order_es.py",
        "vendor/types_pb2.py",
        "vendor/money_pb2.py",
    }


def test_the_messages_that_are_generated_can_be_loaded(tmp_path):
    protos = {name: text.replace("vendor", "loaded") for name, text in PROTOS.items()}
    protos = {name.replace("vendor", "loaded"): text for name, text in protos.items()}
    generated(tmp_path / "loading", protos, exclude=["loaded"])

    with importable(tmp_path):
        order = importlib.import_module("loading.gen.shop.v1.order_pb2").Order

    assert order(price={"cents": 3}).price.cents == 3


@pytest.mark.parametrize("entry", ["vendor.types.Rates", "vendor.types", "vendor/types.proto"])
def test_a_service_is_left_out_by_its_name_its_package_or_its_file(entry, tmp_path):
    protos = {name: text for name, text in PROTOS.items() if "broken" not in name}

    found = generated(tmp_path / "app", protos, exclude=[entry])

    assert "vendor/types_pb2.py" in found
    assert not {"vendor/types_es.py", "sdk.py"} & found


def test_an_entry_for_a_package_is_not_for_one_that_merely_begins_like_it(tmp_path):
    protos = {name: text for name, text in PROTOS.items() if "broken" not in name}

    found = generated(tmp_path / "app", protos, exclude=["vendor.type", "vendor.unused"])

    assert "vendor/types_es.py" in found
    assert "vendor/unused_pb2.py" not in found


def test_an_entry_that_leaves_nothing_out_is_warned_of(tmp_path):
    protos = {"a.proto": MONEY}

    (warning,) = generate_into(tmp_path / "app", protos, exclude=["vendro/"]).warnings

    assert warning.code == "EXCLUDES_NOTHING"
    assert "'vendro/'" in warning.message


def test_leaving_everything_out_is_refused(tmp_path):
    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match="exclude leaves out every"
    ):
        generate_into(tmp_path / "app", {"a.proto": MONEY}, exclude=["vendor"])


def test_protos_are_read_without_what_is_left_out(tmp_path):
    generated(tmp_path / "app", PROTOS, exclude=["vendor"])

    names = [f.name for f in parse_protos([tmp_path / "proto"], exclude=["vendor"]).files.file]

    assert "vendor/unused.proto" not in names
    assert "shop/v1/order.proto" in names


def test_services_of_others_that_stream_are_skipped_and_named_once(tmp_path):
    found = generate_into(tmp_path / "app", VENDORED).warnings

    assert {(w.severity, w.code) for w in found} == {("warning", "SERVICE_SKIPPED")}
    assert [w.message.partition(" streams")[0] for w in found] == [
        "envoy.service.discovery.v3.AggregatedDiscoveryService",
        "etcdserverpb.Watch",
        "etcdserverpb.Lease",
    ]
    assert (tmp_path / "app/gen/envoy/service/discovery/v3/ads_pb2.py").exists()
    assert not (tmp_path / "app/gen/envoy/service/discovery/v3/ads_es.py").exists()


def test_a_skipped_service_that_the_settings_name_is_not_mentioned(tmp_path):
    exclude = ["envoy", "etcdserverpb.Watch", "etcdserverpb.Lease"]

    assert generate_into(tmp_path / "app", VENDORED, exclude=exclude).warnings == ()


def test_an_unchanged_project_is_remembered_with_its_warnings(tmp_path):
    def run() -> GenResult:
        return generate_into(tmp_path / "app", VENDORED, cache=tmp_path / "cache.json")

    first, second = run(), run()

    assert first.warnings == second.warnings != ()
    assert (second.written, set(second.unchanged)) == ((), set(first.written))


def test_another_exclusion_is_not_taken_for_the_remembered_one(tmp_path):
    generate_into(tmp_path / "app", VENDORED, cache=tmp_path / "cache.json")

    again = generate(
        proto_roots=[tmp_path / "proto"],
        output=tmp_path / "app" / "gen",
        app_name="app",
        cache=tmp_path / "cache.json",
        exclude=["cosmos"],
    )

    assert "query_pb2.py" in {path.name for path in again.removed}


def test_a_copy_of_protobufs_own_protos_alone_is_told_apart_from_no_proto(tmp_path):
    with pytest.raises(
        ProjectError,
        check=coded("PROJECT_INVALID"),
        match=r"No \.proto file but copies of protobuf's",
    ):
        generate_into(tmp_path / "app", {"google/protobuf/any.proto": 'syntax = "proto3";'})
