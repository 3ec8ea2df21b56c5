"""Finding a project, reading its settings, importing its app."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eskit.errors import ProjectError
from eskit.project.layout import Project, load_app, load_project
from tests.support.coded import coded

SETTINGS = """
[tool.eskit]
app = "shop_under_test.app:app"
store = "sqlite:///shop.db?synchronous=normal"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    return tmp_path


def test_the_nearest_folder_with_settings_is_the_project(root: Path) -> None:
    inner = root / "a" / "b"
    inner.mkdir(parents=True)
    (root / "a" / "pyproject.toml").write_text("[project]\nname = 'not-eskit'\n")

    project = load_project(inner)

    assert project.root == root
    assert project.file == root / "pyproject.toml"


def test_without_a_project_the_hint_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, check=coded("PROJECT_NOT_FOUND")) as caught:
        load_project(tmp_path)

    assert str(tmp_path) in caught.value.message
    assert "eskit new project NAME" in caught.value.hint


def test_eskit_toml_holds_the_same_keys_at_top_level(tmp_path: Path) -> None:
    (tmp_path / "eskit.toml").write_text('nats_prefix = "facts"\n')

    project = load_project(tmp_path)

    assert project.nats_prefix == "facts"
    assert project.settings["nats_prefix"].origin == "eskit.toml"


def test_settings_in_two_files_of_one_folder_are_refused(root: Path) -> None:
    (root / "eskit.toml").write_text('store = "memory://"\n')

    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match=r"eskit.toml and in pyproject.toml"
    ):
        load_project(root)


def test_what_is_not_set_has_a_default(root: Path) -> None:
    project = load_project(root)

    assert project.proto_paths == (root / "proto",)
    assert project.gen_path == root / "shop_under_test" / "gen"
    assert project.nats == "embedded"
    assert project.settings["nats"].origin == "default"


def test_sqlite_paths_are_relative_to_the_project_and_keep_their_options(root: Path) -> None:
    project = load_project(root)

    assert project.store == f"sqlite:///{root}/shop.db?synchronous=normal"


def test_a_folder_whose_name_means_something_in_urls_is_encoded(tmp_path: Path) -> None:
    root = tmp_path / "100%?#"
    root.mkdir()
    (root / "eskit.toml").write_text('store = "sqlite:///shop.db"')

    assert load_project(root).store == f"sqlite:///{tmp_path}/100%25%3F%23/shop.db"


def test_read_models_lie_beside_the_store_unless_set(root: Path) -> None:
    beside = load_project(root)
    elsewhere = load_project(root, environ={}, overrides={"store": "sqlite:////var/other.db"})
    configured = load_project(root, environ={}, overrides={"read_models": "sqlite:///r.db"})

    assert beside.read_models == f"sqlite:///{root}/shop_read.db"
    assert elsewhere.read_models == "sqlite:////var/other_read.db"
    assert configured.read_models == f"sqlite:///{root}/r.db"


@pytest.mark.parametrize(
    "url", ["sqlite:////var/lib/shop.db", "memory://shop", "postgresql://db/shop"]
)
def test_other_urls_stay_as_they_are(root: Path, url: str) -> None:
    project = load_project(root, environ={}, overrides={"store": url})

    assert project.store == url


def test_the_environment_overrides_the_file_and_options_override_both(root: Path) -> None:
    environ = {"ESKIT_STORE": "memory://env", "ESKIT_NATS": "nats://env:4222"}

    project = load_project(root, environ=environ, overrides={"store": "memory://option"})

    assert (project.store, project.settings["store"].origin) == ("memory://option", "option")
    assert (project.nats, project.settings["nats"].origin) == ("nats://env:4222", "environment")


def test_empty_overrides_count_as_not_given(root: Path) -> None:
    project = load_project(root, environ={"ESKIT_NATS": ""}, overrides={"store": ""})

    assert project.settings["nats"].origin == "default"
    assert project.settings["store"].origin == "pyproject.toml"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('stor = "memory://"', "no setting 'stor'", "'store'"),
        ("colour = 1", "no setting 'colour'", "app, proto, gen"),
        ("store = 7", "store = 7 is not a text", "sqlite:///bank.db"),
        ('nats = ""', "nats = '' is not a text", "nats://"),
        ("proto = [1]", "proto = [1] is not a list of folders", '["proto"]'),
        ("exclude = [1]", "not a list of files, packages and services", '["vendor/", '),
        ("proto = []", "proto = [] is not a list of folders", '["proto"]'),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(f"[tool.eskit]\n{line}\n")

    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID")) as caught:
        load_project(tmp_path)

    assert str(file) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ()),
        ("exclude = []", ()),
        ('exclude = "vendor/"', ("vendor/",)),
        ('exclude = ["vendor/", "acme.v1"]', ("vendor/", "acme.v1")),
    ],
)
def test_what_is_left_out_may_be_nothing_one_or_several(
    tmp_path: Path, line: str, expected: tuple[str, ...]
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.eskit]\n{line}\n")

    assert load_project(tmp_path).exclude == expected


def test_toml_that_does_not_parse_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.eskit\n")

    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match=r"pyproject\.toml is not valid TOML"
    ) as caught:
        load_project(tmp_path)

    assert caught.value.hint == "Correct pyproject.toml at that place."


def test_code_below_src_is_imported_from_there(root: Path) -> None:
    (root / "src" / "shop_under_test").mkdir(parents=True)

    project = load_project(root)

    assert project.import_paths() == [root / "src"]
    assert project.gen_path == root / "src" / "shop_under_test" / "gen"


@pytest.fixture
def importable(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    (root / "shop_under_test").mkdir()
    monkeypatch.syspath_prepend(str(root))
    yield load_project(root)
    for name in [name for name in sys.modules if name.startswith("shop_under_test")]:
        del sys.modules[name]


def write_app(project: Project, text: str) -> None:
    (project.root / "shop_under_test" / "app.py").write_text(text)


def test_the_app_is_imported(importable: Project) -> None:
    write_app(importable, 'from eskit.app import App\n\napp = App("shop")\n')

    assert load_app(importable).name == "shop"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "has no attribute 'app'", "app = App(…)"),
        ("app = 1", "is of type int, not an eskit App", "Make it one"),
        ("import shop_under_test.gen.x_es", "No module named 'shop_under_test.gen'", "eskit gen"),
        ("import no_such_package_anywhere", "no_such_package_anywhere", "Install"),
        ("from eskit import no_such_name", "cannot import name", "Correct the import"),
        ("1 / 0", "ZeroDivisionError: division by zero", "--debug"),
        ("def", "SyntaxError", "--debug"),
    ],
)
def test_an_app_that_does_not_load_says_why(
    importable: Project, text: str, message: str, hint: str
) -> None:
    write_app(importable, text)

    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID")) as caught:
        load_app(importable)

    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_module_that_is_not_there_points_at_the_setting(importable: Project) -> None:
    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID")) as caught:
        load_app(importable)

    assert "No module named 'shop_under_test.app'" in caught.value.message
    assert "Check app = 'shop_under_test.app:app'" in caught.value.hint


@pytest.mark.parametrize("app", ["shop", ":app", "shop:"])
def test_an_app_setting_of_another_form_is_refused(root: Path, app: str) -> None:
    project = load_project(root, environ={}, overrides={"app": app})

    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match=r"not of the form 'module:attribute'"
    ):
        load_app(project)


def test_a_project_without_an_app_says_so(tmp_path: Path) -> None:
    (tmp_path / "eskit.toml").write_text("")

    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID"), match="names no app"):
        load_app(load_project(tmp_path))


def test_a_server_of_its_own_has_the_rows_of_a_project_for_postgresql(tmp_path):
    (tmp_path / "eskit.toml").write_text('app = "bank.app:app"\nstore = "postgresql://h/db"\n')
    server = "postgresql://eskit:pw@127.0.0.1:1/postgres"

    ours = load_project(tmp_path).on_own_postgres(server)
    (tmp_path / "eskit.toml").write_text('app = "bank.app:app"\nstore = "sqlite:///bank.db"\n')
    in_files = load_project(tmp_path).on_own_postgres(server)

    assert ours.store == in_files.store == f"{server}?schema=bank"
    assert ours.read_models == f"{server}?schema=bank_read"
    assert in_files.read_models.endswith("/.eskit/postgres/read_models.db")
