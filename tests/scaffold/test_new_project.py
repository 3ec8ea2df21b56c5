"""New projects: what is planned, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eskit.errors import InvalidArgument, NotFound, ProjectError
from eskit.project.layout import load_project
from eskit.scaffold.database import DATABASES, database_of
from eskit.scaffold.project import new_project, project_templates
from tests.support.coded import coded


def test_the_next_step_enters_the_folder_wherever_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "my projects"
    elsewhere.mkdir()

    plan = new_project("shop", target=elsewhere / "shop")

    assert plan.next_steps[0] == f"cd '{elsewhere}/shop'"


def test_the_templates_are_those_there_are() -> None:
    assert project_templates() == ["bank", "blank", "subscription"]


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("template", project_templates())
def test_every_planned_file_says_what_it_is_for(
    tmp_path: Path, template: str, database: str
) -> None:
    plan = new_project("shop", target=tmp_path / "shop", template=template, database=database)

    assert [file.path for file in plan.files if not file.description] == []
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("database", DATABASES)
def test_no_file_of_a_template_is_left_unrendered(tmp_path: Path, database: str) -> None:
    for template in project_templates():
        target = tmp_path / "shop"
        plan = new_project("my-shop", target=target, template=template, database=database)

        for file in plan.files:
            assert b"{{" not in file.content
            assert b"{%" not in file.content
            assert "{" not in str(file.path)
            assert file.path.suffix != ".jinja"


def test_a_name_with_dashes_is_a_folder_and_a_package(tmp_path: Path) -> None:
    new_project("my-shop", target=tmp_path / "my-shop").apply()

    project = load_project(tmp_path / "my-shop")

    assert project.app == "my_shop.app:app"
    assert project.gen_path == tmp_path / "my-shop" / "my_shop" / "gen"
    assert project.store == f"sqlite:///{tmp_path}/my-shop/my_shop.db"
    assert (tmp_path / "my-shop" / "my_shop" / "app.py").is_file()


def test_a_project_on_postgres_names_a_database_of_its_own_and_is_tried_there(
    tmp_path: Path,
) -> None:
    new_project("my-shop", target=tmp_path / "my-shop", database="postgres").apply()

    project = load_project(tmp_path / "my-shop")

    assert project.store == "postgresql://localhost/my_shop"
    assert database_of(project.read_models) == "postgres"
    assert "eskit dev --postgres" in (tmp_path / "my-shop" / "README.md").read_text()


def test_an_unknown_database_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="'db2'") as refused:
        new_project("shop", target=tmp_path / "shop", database="db2")

    assert refused.value.hint == "Databases here: postgres, sqlite."


def test_copier_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    new_project("shop", target=tmp_path / "shop").apply()

    assert capfd.readouterr() == ("", "")


def test_the_copier_settings_of_the_user_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text("defaults: {package: other_package}\ntrust: [")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", os.fspath(settings))

    plan = new_project("shop", target=tmp_path / "shop")

    assert "shop/app.py" in [str(file.path) for file in plan.files]


@pytest.mark.parametrize(
    "name",
    ["", "Shop", "1shop", "my shop", "shop.py", "../shop", "shop-", "my--shop", "käse", "s" * 41],
)
def test_a_name_that_makes_no_package_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot name a project") as caught:
        new_project(name, target=tmp_path / "shop")

    assert "a letter from a to z" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("class", "a word of Python"),
        ("queue", "hide the package 'queue'"),
        ("eskit", "hide the package 'eskit'"),
        ("nats", "hide the package 'nats'"),
        ("grpc-tools", "hide the package 'grpc_tools'"),
        ("jinja2", "hide the package 'jinja2'"),
        ("pytest", "hide the package 'pytest'"),
        ("typing-extensions", "hide the package 'typing_extensions'"),
        ("psycopg", "hide the package 'psycopg'"),
        ("tests", "hide the package 'tests'"),
    ],
)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        new_project(name, target=tmp_path / name)


def test_pytest_is_installed_before_it_is_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = new_project("shop", target=tmp_path / "shop", template="bank").next_steps
    monkeypatch.setattr("eskit.scaffold.project.find_spec", lambda _: None)
    elsewhere = new_project("shop", target=tmp_path / "shop", template="bank").next_steps

    assert here[1:] == ("eskit gen", "pytest")
    assert elsewhere[1:] == ("pip install -e '.[dev]'", "eskit gen", "pytest")


@pytest.mark.parametrize("template", project_templates())
def test_type_checkers_read_the_package(tmp_path: Path, template: str) -> None:
    new_project("shop", target=tmp_path / "shop", template=template).apply()

    assert (tmp_path / "shop" / "shop" / "py.typed").is_file()


def test_an_unknown_template_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no project template 'bnk'") as caught:
        new_project("shop", target=tmp_path / "shop", template="bnk")

    assert caught.value.hint == "Did you mean 'bank'? The templates are bank, blank, subscription."


@pytest.mark.parametrize("template", ["common", "../aggregate", ""])
def test_only_templates_are_templates(tmp_path: Path, template: str) -> None:
    with pytest.raises(NotFound, match="no project template"):
        new_project("shop", target=tmp_path / "shop", template=template)


def test_a_target_that_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for name in ("folder", "dangling"):
        with pytest.raises(ProjectError, check=coded("TARGET_EXISTS"), match="exists already"):
            new_project("shop", target=tmp_path / name)


def test_a_target_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not a folder"):
        new_project("shop", target=tmp_path / "nowhere" / "shop")
