"""Events, states and requests that hold what their own protos do not name: Any and extensions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.running import eskit

MAKE = "box.v1.BoxCommandService/Fill"
BOX = """\
edition = "2023";
package box.v1;
import "eventsourcing/options.proto";
import "google/protobuf/any.proto";
option features.field_presence = IMPLICIT;
message Box {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
  google.protobuf.Any content = 2;
}
message FilledEvent {
  option (eventsourcing.event) = {aggregate_name: "Box"};
  string label = 1;
  google.protobuf.Any content = 2;
  extensions 100 to 199;
}
message FillBox { string id = 1; google.protobuf.Any content = 2; }
message Filled { google.protobuf.Any content = 1; }
service BoxCommandService { rpc Fill(FillBox) returns (Filled); }
"""
MARKS = """\
edition = "2023";
package box.marks;
import "box/v1/box.proto";
extend box.v1.FilledEvent { string mark = 100; }
message Toy { string name = 1; int32 pieces = 2; }
"""
APP = """\
from eskit import App

from box.gen.box.v1 import box_es as es, box_pb2 as pb


class Box(es.BoxAggregate):
    def fill(self, command: pb.FillBox) -> pb.Filled:
        event = pb.FilledEvent(label="L", content=command.content)
        # An extension as bytes: the app does not import the module that declares it.
        event.MergeFromString(bytes([0xA2, 0x06, 0x03]) + b"new")
        self.emit(event)
        return pb.Filled(content=command.content)

    def on_filled(self, event: pb.FilledEvent) -> None:
        self.state.content.CopyFrom(event.content)


app = App("box", aggregates=[Box])
"""
TOY = {"@type": "type.googleapis.com/box.marks.Toy", "name": "bear", "pieces": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boxes") / "project"
    for name, text in {
        "eskit.toml": 'app = "box.app:app"\nstore = "sqlite:///box.db"\n',
        "proto/box/v1/box.proto": BOX,
        "proto/box/marks.proto": MARKS,
        "box/__init__.py": "",
        "box/app.py": APP,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert eskit("gen", cwd=folder).code == 0
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A project of its own for each test."""
    return shutil.copytree(made, tmp_path / "project")


def fill(project: Path, content: dict[str, object]) -> None:
    data = json.dumps({"id": "b", "content": content})
    done = eskit("call", MAKE, "--data", data, "--json", cwd=project)

    assert done.code == 0, done.out
    assert done.json["data"] == {"content": content}


@pytest.mark.parametrize(
    "content",
    [
        TOY,
        {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
        {"@type": "type.googleapis.com/google.protobuf.SourceContext", "file_name": "f"},
        {"@type": "type.googleapis.com/google.protobuf.Any", "value": TOY},
    ],
)
def test_any_type_of_the_project_and_of_protobuf_is_called_and_replayed(project, content):
    fill(project, content)

    replayed = eskit("replay", "Box-b", "--json", cwd=project)

    (step,) = replayed.records
    assert step["state"]["content"] == content
    assert step["data"] == {"label": "L", "content": content, "[box.marks.mark]": "new"}
    assert eskit("replay", "Box-b", cwd=project).code == 0


def test_a_type_that_nothing_declares_is_refused_by_its_name(project):
    data = json.dumps({"id": "b", "content": {"@type": "x/no.such.Type"}})

    refused = eskit("call", MAKE, "--data", data, cwd=project)

    assert refused.code == 2
    assert "content.@type: no message 'no.such.Type' is known" in refused.err


def test_extensions_of_another_file_are_shown_with_the_recorded_schema(project):
    fill(project, TOY)

    (event,) = eskit("stream", "read", "Box-b", "--json", cwd=project).records

    assert event["data"] == {"label": "L", "content": TOY, "[box.marks.mark]": "new"}


def test_without_generated_code_everything_but_the_unknown_type_is_shown_with_the_reason(project):
    fill(project, TOY)
    shutil.rmtree(project / "box")

    read = eskit("stream", "read", "Box-b", "--json", cwd=project)
    shown = eskit("stream", "read", "Box-b", cwd=project)
    tailed = eskit("tail", "--no-follow", "--source", "store", "--json", cwd=project)

    (event,) = read.records
    assert event["data"] == {
        "label": "L",
        "content": {
            "@type": TOY["@type"],
            "@value": "CgRiZWFyEAE=",
            "@problem": "no schema of box.marks.Toy is known",
        },
    }
    assert "diagnostics" not in event
    assert "no schema of box.marks.Toy is known" in shown.out
    assert tailed.records[0]["data"] == event["data"]
