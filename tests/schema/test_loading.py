"""Generated modules that cannot be loaded are explained: by what, and what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eskit.schema.loading import explain
from tests.support.trees import generate_into, write_protos

PLAIN = 'syntax = "proto3";\npackage {package};\nmessage {name} {{ string text = 1; }}\n'
OWN_EXTENSION = """\
syntax = "proto3";
package mine.v1;
import "google/protobuf/descriptor.proto";
message Wrapper {
  extend google.protobuf.MessageOptions { string colour = 50003; }
}
"""
LOAD = """\
import importlib, sys
from eskit.errors import EskitError
from eskit.schema.loading import explain
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except EskitError as found:
        print(found.code, found.message, found.hint, sep="\\n")
    except Exception as error:
        found = explain(error)
        print(found.code, found.message, found.hint, sep="\\n")
"""


def load_all(folder: Path, *modules: str) -> list[str]:
    """Code, message and hint of what went wrong when a fresh process imports `modules`."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *modules],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def generate(folder: Path, package: str, protos: dict[str, str]) -> None:
    """Generate a package beside others in `folder`."""
    sources = folder / f"{package}-sources"
    sources.mkdir()
    generate_into(sources / package, protos)
    (sources / package).rename(folder / package)


def test_two_files_of_one_name_name_both_modules(tmp_path):
    generate(tmp_path, "one", {"a/a.proto": PLAIN.format(package="a.v1", name="A")})
    generate(tmp_path, "two", {"a/a.proto": PLAIN.format(package="a.v1", name="B")})

    code, message, hint = load_all(tmp_path, "one.gen.a.a_pb2", "two.gen.a.a_pb2")

    assert code == "SCHEMA_CLASH"
    assert message == "two.gen.a.a_pb2 and one.gen.a.a_pb2 hold different versions of a/a.proto"
    assert "another path" in hint


def test_a_module_that_protoc_wrote_itself_is_explained_as_well(tmp_path):
    for package, name in (("one", "A"), ("two", "B")):
        sources = write_protos(
            tmp_path / f"{package}-protos",
            {f"{package}/a.proto": PLAIN.format(package="a.v1", name=name)},
        )
        (sources / package / "a.proto").rename(sources / "a.proto")
        (tmp_path / package).mkdir()
        command = ["-m", "grpc_tools.protoc", f"-I{sources}", f"--python_out={tmp_path / package}"]
        subprocess.run([sys.executable, *command, "a.proto"], check=True, timeout=60)

    code, message, _ = load_all(tmp_path, "one.a_pb2", "two.a_pb2")

    assert code == "SCHEMA_CLASH"
    assert message.endswith("two/a_pb2.py and one.a_pb2 hold different versions of a.proto")


def test_one_name_in_two_files_names_both_files(tmp_path):
    generate(tmp_path, "one", {"a.proto": PLAIN.format(package="same.v1", name="A")})
    generate(tmp_path, "two", {"b.proto": PLAIN.format(package="same.v1", name="A")})

    code, message, hint = load_all(tmp_path, "one.gen.a_pb2", "two.gen.b_pb2")

    assert (code, message) == (
        "SCHEMA_CLASH",
        "same.v1.A is declared by b.proto and by a.proto, which one.gen.a_pb2 loaded",
    )
    assert "another package" in hint


def test_an_extension_number_of_eskit_names_the_number(tmp_path):
    generate(tmp_path, "own", {"own.proto": OWN_EXTENSION})

    code, message, hint = load_all(tmp_path, "eskit.schema.options_pb2", "own.gen.own_pb2")

    assert code == "SCHEMA_CLASH"
    assert message == (
        "Extension 50003 of google.protobuf.MessageOptions is colour in own.proto and "
        "eventsourcing.aggregate_root in eventsourcing/options.proto, which "
        "eskit.schema.options_pb2 loaded"
    )
    assert hint == "Give colour another number; eskit's own are 50002 to 50004."


def test_code_for_a_newer_protobuf_says_which_to_install(tmp_path):
    generate(tmp_path, "new", {"n.proto": PLAIN.format(package="n.v1", name="N")})
    module = tmp_path / "new" / "gen" / "n_pb2.py"
    lines = module.read_text().splitlines()
    start = lines.index("    _runtime_version.Domain.PUBLIC,")
    lines[start + 1 : start + 4] = ["    99,", "    1,", "    2,"]
    lines = [
        "# Protobuf Python Version: 99.1.2" if "Protobuf Python Version" in line else line
        for line in lines
    ]
    module.write_text("\n".join(lines))

    code, message, hint = load_all(tmp_path, "new.gen.n_pb2")

    assert code == "PROTOBUF_TOO_OLD"
    assert message.startswith("n_pb2.py was generated for protobuf 99.1.2, and ")
    assert hint == "pip install 'protobuf>=99.1.2'"


@pytest.mark.parametrize("error", [TypeError("of something else"), ValueError("no")])
def test_other_errors_are_left_alone(error):
    assert explain(error) is None


def test_a_project_that_cannot_be_loaded_says_why(tmp_path):
    """What the command line does with it, from project to exit code."""
    generate(tmp_path, "shop", {"own.proto": OWN_EXTENSION})
    (tmp_path / "pyproject.toml").write_text('[tool.eskit]\napp = "shop.app:app"\n')
    (tmp_path / "shop" / "app.py").write_text(
        "from eskit import App\nimport eskit.schema.options_pb2\nimport shop.gen.own_pb2\n"
        'app = App("shop")\n'
    )

    done = subprocess.run(
        [Path(sys.executable).with_name("eskit"), "call", "x.Y/Z", "--data", "{}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "Extension 50003 of google.protobuf.MessageOptions is colour in own.proto" in (
        " ".join(done.stderr.split())
    )
