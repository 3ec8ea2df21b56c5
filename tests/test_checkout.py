"""Ground rules of the tree: what must never be committed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
LOCK_FILES = {"Pipfile.lock", "package-lock.json", "pdm.lock", "poetry.lock", "uv.lock"}
ROOTS = ("Users", "farm", "home", "opt", "root", "work")

# An absolute path under a folder that only the author's machine has.
MACHINE_PATH = re.compile(rf"(?<![\w.:/~}}-])/(?:{'|'.join(ROOTS)})/[\w.-]+")
REGISTRY = re.compile(r"registry *= *[{\"']|/simple/?[\"']|index-url", re.IGNORECASE)


def committed() -> list[Path]:
    """The files git tracks."""
    if not shutil.which("git") or not (CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    output = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout
    paths = [CHECKOUT / name for name in output.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def lines_that_match(pattern: re.Pattern[str]) -> list[str]:
    """``file:line: text`` of every line of a committed text file that matches."""
    found = []
    for path in committed():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        name = path.relative_to(CHECKOUT)
        found += [
            f"{name}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    return found


def test_no_file_names_a_folder_of_somebodys_machine():
    assert lines_that_match(MACHINE_PATH) == []


def test_no_file_names_a_package_registry():
    assert lines_that_match(REGISTRY) == []


def test_no_lock_file_is_committed():
    assert [path for path in committed() if path.name in LOCK_FILES] == []


def test_no_database_or_cache_is_committed():
    unwanted = {".db", ".db-shm", ".db-wal", ".pyc", ".sqlite"}

    assert [path for path in committed() if path.suffix in unwanted] == []


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("cd " + "/home/" + "alice/project", True),
        ('"/' + 'root/.cache"', True),
        ("https://example.org/home/page", False),
        ("templates/" + "work/file", False),
        ("docs/" + "root/x", False),
    ],
)
def test_a_machine_path_is_told_from_others(line, bad):
    assert bool(MACHINE_PATH.search(line)) is bad


def test_every_dependency_has_a_lower_bound_and_no_upper_one():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = map(
        Requirement, [*project["dependencies"], *(text for e in extras for text in e)]
    )

    operators = {
        requirement.name: [part.operator for part in requirement.specifier]
        for requirement in requirements
        if requirement.name != project["name"]
    }

    assert {name: found for name, found in operators.items() if found != [">="]} == {}
