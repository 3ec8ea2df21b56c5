"""Untouched, a new project passes its own tests, its linter and its type checker."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eskit.codegen.generate import generate
from eskit.project.layout import Project, load_project
from eskit.resources import templates_dir
from eskit.scaffold.aggregate import new_aggregate
from eskit.scaffold.database import DATABASES
from eskit.scaffold.project import new_project, project_templates
from eskit.scaffold.projection import new_projection
from eskit.schema.loading import needed_protobuf

CHECKS = {
    "pytest": ["pytest", "-q", "-p", "no:cacheprovider"],
    "mypy": ["mypy"],
    "ruff check": ["ruff", "check", "--no-cache"],
    "ruff format": ["ruff", "format", "--check", "--no-cache"],
}


def create(folder: Path, name: str, *, template: str, database: str = "sqlite") -> Project:
    new_project(name, target=folder / name, template=template, database=database).apply()
    return load_project(folder / name)


def generate_code(project: Project) -> None:
    if any(file for root in project.proto_paths for file in root.rglob("*.proto")):
        generate(proto_roots=project.proto_paths, output=project.gen_path, app_name=project.package)


def assert_passes(project: Project, check: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *CHECKS[check]],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{check}:\n{done.stdout}{done.stderr}"


@pytest.fixture(
    scope="module",
    params=itertools.product(project_templates(), DATABASES),
    ids=" on ".join,
)
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    template, database = request.param
    folder = tmp_path_factory.mktemp("new")
    project = create(folder, "corner-shop", template=template, database=database)
    generate_code(project)
    return project


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.promise("new-projects-pass")
def test_a_new_project_passes(generated: Project, check: str) -> None:
    assert_passes(generated, check)


def test_a_new_project_requires_the_protobuf_that_its_generated_code_demands(
    tmp_path: Path,
) -> None:
    project = create(tmp_path, "shop", template="bank")
    generate_code(project)
    settings = tomllib.loads((project.root / "pyproject.toml").read_text())

    [demanded] = {needed_protobuf(path.read_text()) for path in tmp_path.rglob("*_pb2.py")}

    assert f"protobuf>={demanded}" in settings["project"]["dependencies"]


@pytest.fixture(
    scope="module",
    params=[
        ("account/v1/account", ["MoneyDeposited", "MoneyWithdrawn"], "sqlite"),
        ("subscription/v1/state", ["SubscriptionCreated", "AccountOpened"], "sqlite"),
        ("subscription/v1/state", ["SubscriptionCreated", "AccountOpened"], "postgres"),
    ],
    ids=["one file", "several files", "on postgres"],
)
def grown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A blank project with a new aggregate and a new projection."""
    proto, events, database = request.param
    folder = tmp_path_factory.mktemp("new")
    project = create(folder, "corner-shop", template="blank", database=database)
    for example in ("bank", "subscription"):
        protos = templates_dir() / "project" / example / "proto"
        shutil.copytree(protos, project.root / "proto", dirs_exist_ok=True)
    new_aggregate(project, project.root / "proto" / f"{proto}.proto").apply()
    new_projection(project, "what-happened", events=events).apply()
    generate_code(project)
    return project


@pytest.mark.parametrize("check", CHECKS)
def test_a_project_with_a_new_aggregate_and_projection_passes(grown: Project, check: str) -> None:
    assert_passes(grown, check)


@pytest.mark.parametrize("database", DATABASES)
def test_the_longest_name_breaks_no_line(tmp_path: Path, database: str) -> None:
    for template in project_templates():
        name = f"{template}-{'x' * (39 - len(template))}"
        project = create(tmp_path, name, template=template, database=database)

        assert_passes(project, "ruff check")
        assert_passes(project, "ruff format")


def test_generated_code_is_committed_and_data_is_not(generated: Project) -> None:
    subprocess.run(["git", "init", "-q"], cwd=generated.root, check=True)
    (generated.root / f"{generated.package}.db-wal").touch()

    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=generated.root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert [path for path in listed if ".db" in path or "cache" in path] == []
    assert any("/gen/" in path for path in listed) == generated.gen_path.is_dir()
