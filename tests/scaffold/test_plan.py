"""Plans create every file or none, and never change what is there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from eskit.errors import ProjectError
from eskit.scaffold.plan import Plan, PlannedFile
from tests.support.coded import coded


def plan(root: Path, *paths: str, creates_root: bool = False) -> Plan:
    files = (
        PlannedFile(path=PurePosixPath(path), description="", content=path.encode())
        for path in paths
    )
    return Plan(root=root, files=tuple(files), creates_root=creates_root)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_plan_changes_nothing_until_it_is_applied(tmp_path: Path) -> None:
    plan(tmp_path / "shop", "a.txt", creates_root=True)

    assert tree(tmp_path) == []


def test_a_new_root_is_created_with_all_its_files(tmp_path: Path) -> None:
    root = tmp_path / "shop"

    created = plan(root, "a.txt", "sub/b.txt", creates_root=True).apply()

    assert created == [root / "a.txt", root / "sub" / "b.txt"]
    assert tree(tmp_path) == ["shop", "shop/a.txt", "shop/sub", "shop/sub/b.txt"]
    assert (root / "sub" / "b.txt").read_text() == "sub/b.txt"


def test_a_new_root_has_the_permissions_of_any_new_folder(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.mkdir()

    plan(tmp_path / "shop", "a.txt", creates_root=True).apply()

    assert (tmp_path / "shop").stat().st_mode == ordinary.stat().st_mode


def test_files_are_added_to_a_root_that_exists(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")

    plan(tmp_path, "a.txt", "sub/b.txt").apply()

    assert tree(tmp_path) == ["a.txt", "kept.txt", "sub", "sub/b.txt"]


def test_a_file_in_the_way_stays_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("mine")

    with pytest.raises(ProjectError, check=coded("TARGET_EXISTS"), match=r"b\.txt exists already"):
        plan(tmp_path, "a.txt", "new/c.txt", "sub/b.txt").apply()

    assert tree(tmp_path) == ["sub", "sub/b.txt"]
    assert (tmp_path / "sub" / "b.txt").read_text() == "mine"


def test_a_plan_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="Cannot write"):
        plan(tmp_path / "shop", "a.txt", "sub/" + "x" * 300, creates_root=True).apply()

    assert tree(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_root_that_appeared_meanwhile_is_left_alone(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "shop"
    waiting = plan(root, "a.txt", creates_root=True)
    root.mkdir() if kind == "folder" else root.touch()

    with pytest.raises(ProjectError, check=coded("TARGET_EXISTS"), match="shop exists already"):
        waiting.apply()

    assert tree(tmp_path) == ["shop"]
