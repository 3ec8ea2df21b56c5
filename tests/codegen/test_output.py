"""Writing generated files: only what changed, nothing by hand lost, nothing left over."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from eskit.codegen.generate import generate
from eskit.errors import ProjectError, SchemaInvalid
from tests.support.coded import coded
from tests.support.trees import generate_into, proto

THING = proto(
    "thing.v1",
    """
message Thing {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
}
""",
)
OTHER = 'syntax = "proto3";\npackage other.v1;\nmessage Other {}\n'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return tmp_path / "app"


def names(package: Path, paths: tuple[Path, ...]) -> list[str]:
    return [path.relative_to(package / "gen").as_posix() for path in paths]


def test_the_first_run_writes_every_file(package):
    result = generate_into(package, {"thing/v1/thing.proto": THING})

    assert names(package, result.written) == [
        "__init__.py",
        "thing/__init__.py",
        "thing/v1/__init__.py",
        "thing/v1/thing_es.py",
        "thing/v1/thing_pb2.py",
        "thing/v1/thing_pb2.pyi",
    ]
    assert result.removed == result.unchanged == ()


def test_a_second_run_writes_nothing_and_touches_no_file(package):
    first = generate_into(package, {"thing/v1/thing.proto": THING})
    for path in first.written:
        os.utime(path, (1, 1))

    second = generate_into(package, {"thing/v1/thing.proto": THING})

    assert second.written == second.removed == ()
    assert second.unchanged == first.written
    assert {path.stat().st_mtime for path in second.unchanged} == {1}


def test_only_files_that_differ_are_written(package):
    generate_into(package, {"thing/v1/thing.proto": THING, "other/v1/other.proto": OTHER})

    changed = OTHER.replace("{}", "{ string name = 1; }")
    result = generate_into(package, {"other/v1/other.proto": changed})

    assert names(package, result.written) == ["other/v1/other_pb2.py", "other/v1/other_pb2.pyi"]


def test_a_removed_proto_removes_its_output_and_the_empty_folder(package):
    generate_into(package, {"thing/v1/thing.proto": THING, "other/v1/other.proto": OTHER})
    (package.parent / "proto/other/v1/other.proto").unlink()

    result = generate_into(package, {})

    assert names(package, result.removed) == [
        "other/__init__.py",
        "other/v1/__init__.py",
        "other/v1/other_pb2.py",
        "other/v1/other_pb2.pyi",
    ]
    assert not (package / "gen/other").exists()


def test_files_that_eskit_did_not_generate_stay(package):
    generate_into(package, {"thing/v1/thing.proto": THING, "other/v1/other.proto": OTHER})
    mine = package / "gen/other/v1/mine.py"
    mine.write_text("X = 1\n")
    own_init = package / "gen/__init__.py"
    own_init.write_text('"""My package."""\n')
    (package.parent / "proto/other/v1/other.proto").unlink()

    result = generate_into(package, {})

    assert mine.read_text() == "X = 1\n"
    assert own_init.read_text() == '"""My package."""\n'
    assert result.written == ()


def test_generated_code_of_others_below_the_folder_stays(package):
    generate_into(package, {"thing/v1/thing.proto": THING, "other/v1/other.proto": OTHER})
    installed = package / "gen/venv/lib/site-packages/somebody"
    (package / "gen/other").rename(package / "gen/moved")
    installed.parent.mkdir(parents=True)
    (package / "gen/moved").rename(installed)
    (package.parent / "proto/other/v1/other.proto").unlink()

    result = generate_into(package, {})

    assert result.removed == ()
    assert (installed / "v1/other_pb2.py").exists()


def test_check_of_generated_files_finds_nothing(package):
    generate_into(package, {"thing/v1/thing.proto": THING})

    result = generate_into(package, {}, check=True)

    assert result.missing == result.stale == result.edited == ()
    assert len(result.unchanged) == 6


def test_check_names_stale_missing_and_left_over_files_and_writes_nothing(package):
    generate_into(package, {"thing/v1/thing.proto": THING, "other/v1/other.proto": OTHER})
    (package.parent / "proto/other/v1/other.proto").unlink()
    (package / "gen/thing/v1/thing_es.py").unlink()

    result = generate_into(
        package,
        {"thing/v1/thing.proto": THING.replace("string id", "// New.\n  string id")},
        check=True,
    )

    assert names(package, result.missing) == ["thing/v1/thing_es.py"]
    assert names(package, result.stale) == [
        "other/__init__.py",
        "other/v1/__init__.py",
        "other/v1/other_pb2.py",
        "other/v1/other_pb2.pyi",
        "thing/v1/thing_pb2.pyi",
    ]
    assert result.written == result.removed == ()
    assert not (package / "gen/thing/v1/thing_es.py").exists()
    assert (package / "gen/other/v1/other_pb2.py").exists()


def test_check_tells_an_edited_file_from_a_stale_one(package):
    generate_into(package, {"thing/v1/thing.proto": THING})
    edited = package / "gen/thing/v1/thing_es.py"
    edited.write_text(edited.read_text() + "# mine\n")

    result = generate_into(
        package,
        {"thing/v1/thing.proto": THING.replace("string id", "// New.\n  string id")},
        check=True,
    )

    assert names(package, result.edited) == ["thing/v1/thing_es.py"]
    assert names(package, result.stale) == ["thing/v1/thing_pb2.pyi"]


@pytest.mark.promise("your-files-are-kept")
def test_an_edited_file_stops_everything_unless_forced(package):
    generate_into(package, {"thing/v1/thing.proto": THING})
    edited = package / "gen/thing/v1/thing_es.py"
    edited.write_text(edited.read_text() + "# mine\n")
    more = {"other/v1/other.proto": OTHER}

    with pytest.raises(ProjectError) as caught:
        generate_into(package, more)

    assert caught.value.message == "Generated files were edited: thing_es.py"
    assert "--force" in caught.value.hint
    assert not (package / "gen/other").exists()
    assert edited.read_text().endswith("# mine\n")

    forced = generate_into(package, more, force=True)

    assert "thing/v1/thing_es.py" in names(package, forced.written)
    assert not edited.read_text().endswith("# mine\n")


def test_a_file_of_ones_own_where_a_generated_one_goes_is_not_overwritten(package):
    target = package / "gen/thing/v1/thing_es.py"
    target.parent.mkdir(parents=True)
    target.write_text("PRECIOUS = True\n")

    with pytest.raises(ProjectError):
        generate_into(package, {"thing/v1/thing.proto": THING})

    assert target.read_text() == "PRECIOUS = True\n"
    assert list((package / "gen").rglob("*_pb2.py")) == []


def test_line_ends_of_another_system_are_no_edit(package):
    generate_into(package, {"thing/v1/thing.proto": THING})
    path = package / "gen/thing/v1/thing_es.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    result = generate_into(package, {}, check=True)

    assert result.missing == result.stale == result.edited == ()


@pytest.mark.promise("generation-is-all-or-nothing")
def test_nothing_is_written_when_a_proto_is_wrong(package):
    wrong = THING.replace('id_field: "id"', 'id_field: "idd"')

    with pytest.raises(SchemaInvalid):
        generate_into(package, {"thing/v1/thing.proto": wrong, "other/v1/other.proto": OTHER})

    assert not (package / "gen").exists()


def test_generated_files_can_be_read_by_the_group_as_the_umask_says(package):
    result = generate_into(package, {"thing/v1/thing.proto": THING})

    plain = package / "plain"
    plain.touch()
    expected = stat.S_IMODE(plain.stat().st_mode)
    assert {stat.S_IMODE(path.stat().st_mode) for path in result.written} == {expected}


def test_a_folder_that_cannot_be_written_is_a_sentence(package):
    package.mkdir()
    (package / "gen").write_text("a file, not a folder")

    with pytest.raises(ProjectError) as caught:
        generate_into(package, {"thing/v1/thing.proto": THING})

    assert "Cannot write generated code" in caught.value.message


def test_a_missing_proto_root_is_a_sentence(tmp_path):
    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID")) as caught:
        generate(proto_roots=[tmp_path / "proto"], output=tmp_path / "gen", app_name="app")

    assert caught.value.message == f"No folder {tmp_path / 'proto'} to find protos in"


def test_a_root_without_protos_is_a_sentence(tmp_path):
    (tmp_path / "proto").mkdir()

    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID")) as caught:
        generate(proto_roots=[tmp_path / "proto"], output=tmp_path / "gen", app_name="app")

    assert caught.value.message == f"No .proto file in {tmp_path / 'proto'}"
    assert "eskit new aggregate" in (caught.value.hint or "")
