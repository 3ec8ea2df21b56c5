"""``eskit gen``, ``protoc --eskit_out`` and ``buf generate`` write the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest

from eskit.codegen.generate import generate
from eskit.codegen.plugin import respond
from eskit.resources import proto_dir
from tests.codegen.shapes import SHAPES
from tests.support.trees import TEMPLATES, proto, write_protos

BUF_YAML = """\
version: v2
modules:
  - path: proto
"""
BUF_GEN_YAML = """\
version: v2
plugins:
  - local: protoc-gen-eskit
    out: gen
    strategy: all
    opt: [app=shop]
"""
PROTOS = {"bank": None, "subscription": None, **SHAPES}


def project(folder: Path, name: str) -> Path:
    """A proto root with the protos of an example or shape."""
    protos = PROTOS[name]
    if protos is None:
        shutil.copytree(TEMPLATES / name / "proto", folder / "proto")
        return folder / "proto"
    return write_protos(folder / "proto", protos)


def content(root: Path) -> Mapping[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def with_plugin() -> dict[str, str]:
    """The environment with protoc-gen-eskit on the path."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("name", PROTOS)
def test_protoc_with_the_plugin_writes_the_same_bytes(name, tmp_path):
    root = project(tmp_path, name)
    generate(proto_roots=[root], output=tmp_path / "expected", app_name="shop")
    output = tmp_path / "gen"
    output.mkdir()
    files = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.proto"))]

    done = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"-I{proto_dir()}"),
            *(f"--eskit_out=app=shop:{output}", *reversed(files)),
        ],
        cwd=root,
        env=with_plugin(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert content(output) == content(tmp_path / "expected")


@pytest.mark.skipif(
    not (Path(sys.executable).parent / "buf").exists() and not shutil.which("buf"),
    reason="buf-bin is not installed",
)
@pytest.mark.parametrize("name", PROTOS)
def test_buf_with_the_plugin_writes_the_same_bytes(name, tmp_path):
    root = project(tmp_path, name)
    generate(proto_roots=[root], output=tmp_path / "expected", app_name="shop")
    shutil.copytree(proto_dir() / "eventsourcing", root / "eventsourcing")
    (tmp_path / "buf.yaml").write_text(BUF_YAML)
    (tmp_path / "buf.gen.yaml").write_text(BUF_GEN_YAML)

    done = subprocess.run(
        ["buf", "generate"],
        cwd=tmp_path,
        env=with_plugin(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "gen") == content(tmp_path / "expected")


def test_the_plugin_reports_every_problem_with_its_place(tmp_path):
    body = 'message E { option (eventsourcing.event) = {aggregate_name: "Nobody"}; }\n'
    root = write_protos(tmp_path / "proto", {"e.proto": proto("e.v1", body)})
    (tmp_path / "gen").mkdir()

    done = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{root}", f"-I{proto_dir()}"),
            *(f"--eskit_out={tmp_path / 'gen'}", "e.proto"),
        ],
        cwd=root,
        env=with_plugin(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert (
        "e.proto:4:61: Event e.v1.E is of an unknown aggregate 'Nobody'. "
        "Mark the state message with (eventsourcing.aggregate_root)." in done.stderr
    )
    assert list((tmp_path / "gen").iterdir()) == []


def test_an_unknown_option_is_refused():
    response = respond(CodeGeneratorRequest(parameter="ap=shop").SerializeToString())

    assert (
        response.error
        == "Unknown option 'ap=shop'\nOptions: app=NAME, nats_prefix=PREFIX, exclude=PACKAGE."
    )
