"""A run that finds nothing changed stops there, and every change is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eskit.codegen.generate import GenResult, generate
from eskit.codegen.reading import tree
from tests.support.trees import proto, write_protos

THING = proto(
    "thing.v1",
    """
import "common/note.proto";
message Thing {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
  common.Note note = 2;
}
""",
)
NOTE = 'syntax = "proto3";\npackage common;\nmessage Note { string text = 1; }\n'


class Project:
    """A project on disk that counts how often its protos were read in full."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = write_protos(
            folder / "proto", {"thing/v1/thing.proto": THING, "common/note.proto": NOTE}
        )
        self.output = folder / "app" / "gen"
        self.cache = folder / ".eskit" / "gen.json"
        self.full_runs = 0
        make_tree = tree.make_tree

        def counted(*args: object, **options: object) -> tree.Tree:
            self.full_runs += 1
            return make_tree(*args, **options)

        monkeypatch.setattr(tree, "make_tree", counted)

    def gen(self, **options: object) -> GenResult:
        """Generate once."""
        settings = {"app_name": "app", "cache": self.cache} | options
        return generate(proto_roots=[self.root], output=self.output, **settings)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = Project(tmp_path, monkeypatch)
    project.gen()
    return project


def test_nothing_changed_is_found_without_reading_the_protos_in_full(project):
    first = project.gen()
    again = project.gen()

    assert project.full_runs == 1
    assert again == first
    assert len(again.unchanged) == 9
    assert again.written == again.removed == ()


def edit_a_proto(project: Project) -> None:
    path = project.root / "common" / "note.proto"
    path.write_text(NOTE.replace("text", "words"))


def add_a_proto(project: Project) -> None:
    write_protos(project.root, {"more.proto": NOTE.replace("common", "more")})


def remove_a_proto(project: Project) -> None:
    (project.root / "common" / "note.proto").unlink()
    thing = project.root / "thing" / "v1" / "thing.proto"
    thing.write_text(
        THING.replace('import "common/note.proto";\n', "").replace("  common.Note note = 2;\n", "")
    )


def delete_a_generated_file(project: Project) -> None:
    (project.output / "common" / "note_pb2.py").unlink()


def empty_the_output(project: Project) -> None:
    for path in sorted(project.output.rglob("*.py*")):
        path.unlink()


def lose_the_kept(project: Project) -> None:
    project.cache.write_text("{")


def remember_something_else(project: Project) -> None:
    kept = project.cache.read_text()
    project.cache.write_text(kept.replace('"digest": "', '"digest": "0'))


@pytest.mark.parametrize(
    "change",
    [
        edit_a_proto,
        add_a_proto,
        remove_a_proto,
        delete_a_generated_file,
        empty_the_output,
        lose_the_kept,
        remember_something_else,
    ],
)
def test_every_change_leads_to_a_full_run(project, change: Callable[[Project], None]):
    change(project)

    project.gen()

    assert project.full_runs == 2
    checked = project.gen(check=True)
    assert checked.missing == checked.stale == ()
    full_runs = project.full_runs
    project.gen()
    assert project.full_runs == full_runs


@pytest.mark.parametrize("setting", [{"app_name": "other"}, {"nats_prefix": "facts"}])
def test_another_setting_leads_to_a_full_run(project, setting):
    project.gen(**setting)

    assert project.full_runs == 2


def test_a_proto_that_is_saved_while_code_is_generated_is_noticed(project, monkeypatch):
    note = project.root / "common" / "note.proto"
    make_tree = tree.make_tree

    def saved_meanwhile(*args: object, **options: object) -> tree.Tree:
        made = make_tree(*args, **options)
        note.write_text(NOTE.replace("text", "later"))
        return made

    note.write_text(NOTE.replace("text", "first"))
    monkeypatch.setattr(tree, "make_tree", saved_meanwhile)
    project.gen()
    monkeypatch.setattr(tree, "make_tree", make_tree)
    project.gen()

    assert "later" in (project.output / "common" / "note_pb2.pyi").read_text()


def test_an_edited_file_is_still_refused(project):
    module = project.output / "common" / "note_pb2.pyi"
    module.write_text(module.read_text() + "# mine\n")

    with pytest.raises(Exception, match=r"note_pb2\.pyi"):
        project.gen()


def test_a_check_always_looks_at_everything(project):
    project.gen(check=True)

    assert project.full_runs == 2


def test_a_changed_proto_of_an_installed_package_is_noticed(tmp_path, monkeypatch):
    site = write_protos(tmp_path / "site", {"common/note.proto": NOTE})
    monkeypatch.setattr("eskit.codegen.reading.sources.installed_protos", lambda: [site])
    project = Project(tmp_path, monkeypatch)
    (project.root / "common" / "note.proto").unlink()
    project.gen()

    (site / "common" / "note.proto").write_text(NOTE.replace("text", "words"))
    project.gen()

    assert project.full_runs == 2


def test_warnings_are_said_in_every_run(tmp_path, monkeypatch):
    project = Project(tmp_path, monkeypatch)
    (project.root / "thing" / "v1" / "thing.proto").write_text(
        THING.replace("  common.Note note = 2;\n", "")
    )

    first, again = project.gen(), project.gen()

    assert [warning.message for warning in first.warnings] == [
        "Import common/note.proto is unused."
    ]
    (warning,) = again.warnings
    assert (warning.severity, warning.code, warning.hint) == (
        "warning",
        "PROTO_WARNING",
        "Remove the import.",
    )
    assert (Path(warning.file).name, warning.line, warning.column) == ("thing.proto", 5, 1)


def test_finding_that_nothing_changed_loads_neither_protoc_nor_templates(tmp_path):
    """What makes it fast; the benchmark says how much."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, eskit.codegen.generate; print(*sys.modules)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert {"grpc_tools", "jinja2", "google.protobuf"}.isdisjoint(done.stdout.split())
