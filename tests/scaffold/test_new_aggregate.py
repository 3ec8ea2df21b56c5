"""A module and a test for each aggregate of a proto that has none yet."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from eskit.errors import InvalidArgument, NotFound, ProjectError, SchemaInvalid
from eskit.project.layout import Project, load_project
from eskit.scaffold.aggregate import new_aggregate
from eskit.scaffold.plan import Plan
from tests.scaffold.parcels import create_parcels
from tests.support.coded import coded


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_parcels(tmp_path)


def plan(project: Project, proto: str = "proto/parcel/v1/parcel.proto") -> Plan:
    return new_aggregate(project, project.root / proto)


def content(plan: Plan, path: str) -> str:
    [found] = [file.content for file in plan.files if str(file.path) == path]
    return found.decode()


def test_an_aggregate_gets_a_module_and_a_test(project: Project) -> None:
    made = plan(project)

    assert [str(file.path) for file in made.files] == [
        "post/domain/parcel.py",
        "tests/test_parcel.py",
    ]
    assert all(file.description for file in made.files)
    assert not (project.root / "post").exists()


def test_the_module_has_a_method_for_every_command_and_current_event(project: Project) -> None:
    module = content(plan(project), "post/domain/parcel.py")

    assert "class Parcel(es.ParcelAggregate):" in module
    assert "def send_parcel(self, command: parcel_pb2.SendParcelCommand)" in module
    assert "-> empty_pb2.Empty:" in module
    assert "def on_parcel_sent(self, event: events_pb2.ParcelSentEvent) -> None:" in module
    assert "V1" not in module


def test_comments_of_the_proto_become_docstrings(project: Project) -> None:
    module = content(plan(project), "post/domain/parcel.py")

    assert '"""Where a parcel is."""' in module
    assert '"""Sends a parcel."""' in module
    assert '"""Decide LoseParcel."""' in module


def test_the_test_sets_the_id_only_where_the_command_has_it(project: Project) -> None:
    test = content(plan(project), "tests/test_parcel.py")

    assert "command = parcel_pb2.SendParcelCommand()" in test
    assert 'command = parcel_pb2.LoseParcelCommand(parcel_id="parcel-1")' in test


def test_the_files_are_as_ruff_would_have_them(project: Project) -> None:
    plan(project).apply()
    isort = 'lint.isort.known-first-party=["post"]'
    options = ["--isolated", "--config", "line-length=100"]

    for command in (["format", "--check"], ["check", "--select=E,F,I,W", "--config", isort]):
        done = subprocess.run(
            ["ruff", *command, *options, "post", "tests"],
            cwd=project.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_next_steps_say_what_only_the_user_can_do(project: Project) -> None:
    steps = "\n".join(plan(project).next_steps)

    assert "eskit gen" in steps
    assert "Add to post/app.py:" in steps
    assert "from post.domain.parcel import Parcel" in steps
    assert "aggregates=[Parcel]" in steps
    assert "upcaster for parcel.v1.ParcelSentEventV1" in steps


@pytest.mark.promise("your-files-are-kept")
def test_what_is_there_is_left_alone(project: Project) -> None:
    plan(project).apply()
    (project.root / "post" / "domain" / "parcel.py").write_text("mine\n")

    again = plan(project)
    again.apply()

    assert again.files == ()
    assert again.next_steps == ()
    assert (project.root / "post" / "domain" / "parcel.py").read_text() == "mine\n"


def test_a_test_that_is_there_is_not_planned(project: Project) -> None:
    (project.root / "tests").mkdir()
    (project.root / "tests" / "test_parcel.py").touch()

    assert [str(file.path) for file in plan(project).files] == ["post/domain/parcel.py"]


def test_a_package_below_src_gets_the_module_there(project: Project) -> None:
    (project.root / "src" / "post").mkdir(parents=True)

    made = plan(project)

    assert [str(file.path) for file in made.files] == [
        "src/post/domain/parcel.py",
        "tests/test_parcel.py",
    ]
    assert "from post.gen.parcel.v1 import" in content(made, "src/post/domain/parcel.py")


def test_a_proto_without_an_aggregate_is_refused(project: Project) -> None:
    with pytest.raises(InvalidArgument, match="declares no aggregate") as caught:
        plan(project, "proto/parcel/v1/events.proto")

    assert "eventsourcing.aggregate_root" in caught.value.hint


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        ("proto/parcel/v1", "is not a proto file of this project"),
        ("proto/../eskit.toml", "is not a proto file of this project"),
    ],
)
def test_what_is_no_proto_of_the_project_is_refused(
    project: Project, proto: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        plan(project, proto)


@pytest.mark.parametrize("proto", ["proto/parcel/v1/none.proto", "elsewhere/parcel.proto"])
def test_a_proto_that_is_not_there_is_named(project: Project, proto: str) -> None:
    with pytest.raises(NotFound, match=rf"There is no file .*{proto}"):
        plan(project, proto)


def test_protos_that_cannot_work_are_refused_with_their_findings(project: Project) -> None:
    (project.root / "proto" / "parcel" / "v1" / "events.proto").write_text("syntax = proto3;")

    with pytest.raises(SchemaInvalid) as caught:
        plan(project)

    assert caught.value.diagnostics[0].file.endswith("parcel/v1/events.proto")
    assert caught.value.diagnostics[0].line == 1


def test_a_project_without_an_app_has_no_place_for_rules(project: Project) -> None:
    (project.root / "eskit.toml").write_text("")

    with pytest.raises(ProjectError, check=coded("PROJECT_INVALID"), match="names no app"):
        plan(load_project(project.root))


def test_what_a_grown_proto_asks_for_is_shown_and_nothing_is_edited(project: Project) -> None:
    plan(project).apply()
    module = project.root / "post/domain/parcel.py"
    kept = module.read_text()
    module.write_text(kept.replace("def lose_parcel(", "def forget_parcel("))

    grown = plan(project)

    [missing] = grown.missing
    assert (grown.files, missing.path, missing.methods) == ((), module, ("lose_parcel",))
    assert missing.code.startswith("    def lose_parcel(")
    assert "send_parcel" not in missing.code
    assert "forget_parcel" in module.read_text()


def test_pasted_methods_make_the_module_whole(project: Project) -> None:
    plan(project).apply()
    module = project.root / "post/domain/parcel.py"
    kept = module.read_text()
    start = kept.index("    def lose_parcel(")
    module.write_text(kept[:start])

    [missing] = plan(project).missing
    module.write_text(kept[:start] + missing.code + "\n")

    assert module.read_text() == kept
    assert plan(project).missing == ()


def test_imports_that_only_the_new_methods_need_are_shown(project: Project) -> None:
    plan(project).apply()
    module = project.root / "post/domain/parcel.py"
    module.write_text('"""Rules."""\n\n\nclass Parcel(es.ParcelAggregate):\n    """Rules."""\n')

    [missing] = plan(project).missing

    assert "from post.gen.parcel.v1 import events_pb2, parcel_pb2" in missing.imports
    assert len(missing.methods) > 2


@pytest.mark.parametrize(
    ("files", "base"),
    [
        ({}, "Shared"),
        ({"shared.py": "{mixin}"}, "Shared"),
        ({"shared.py": "{mixin}"}, "shared.Shared"),
        (
            {"shared/__init__.py": "from .rules import Shared", "shared/rules.py": "{mixin}"},
            "Shared",
        ),
    ],
    ids=["in the module", "from another", "of another", "through a package"],
)
def test_methods_that_are_inherited_are_not_asked_for(
    files: dict[str, str], base: str, project: Project
) -> None:
    plan(project).apply()
    module = project.root / "post/domain/parcel.py"
    text = module.read_text()
    mixin = f"class Shared(Generic[T]):\n{text[text.index('    def send_parcel(') :]}"
    for name, content in files.items():
        (project.root / "post" / name).parent.mkdir(exist_ok=True)
        (project.root / "post" / name).write_text(content.format(mixin=mixin))
    imports = {
        0: mixin,
        1: "from post import shared\nfrom ..shared import Shared\n",
        2: "from post.shared import Shared\n",
    }
    module.write_text(
        f"{imports[len(files)]}\n\nclass Parcel({base}[int], es.ParcelAggregate):\n    pass\n"
    )

    assert plan(project).missing == ()


def test_a_method_that_is_assigned_is_not_asked_for(project: Project) -> None:
    plan(project).apply()
    module = project.root / "post/domain/parcel.py"
    kept = module.read_text()
    module.write_text(
        kept.replace("def lose_parcel(", "lose_parcel = send_parcel\n\n    def lose(")
    )

    assert plan(project).missing == ()


def test_abstract_methods_of_a_base_are_still_asked_for(project: Project) -> None:
    plan(project).apply()
    module = project.root / "post/domain/parcel.py"
    kept = module.read_text()
    start = kept.index("    def lose_parcel(")
    end = kept.index("    def on_parcel_sent(")
    base = "class Shared:\n    @abc.abstractmethod\n" + kept[start:end]
    module.write_text(
        f"{base}\n{kept[:start]}{kept[end:]}".replace("(es.Parcel", "(Shared, es.Parcel")
    )

    [missing] = plan(project).missing

    assert missing.methods == ("lose_parcel",)


def test_a_module_that_is_not_python_is_told(project: Project) -> None:
    plan(project).apply()
    (project.root / "post/domain/parcel.py").write_text("class Parcel(:\n")

    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match=r"parcel\.py:1 is not Python"
    ):
        plan(project)
