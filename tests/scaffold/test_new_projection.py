"""A module, a migration and a test for a projection of chosen events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eskit.errors import InvalidArgument, NotFound, ProjectError
from eskit.project.layout import Project
from eskit.project.settings import Setting
from eskit.scaffold.projection import new_projection
from tests.scaffold.parcels import create_parcels
from tests.support.coded import coded


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return create_parcels(tmp_path)


def test_a_projection_gets_a_module_a_migration_and_a_test(project: Project) -> None:
    plan = new_projection(project, "sent-parcels", events=["ParcelSentEvent"])

    assert [str(file.path) for file in plan.files] == [
        "post/projections/__init__.py",
        "post/projections/migrations/sent_parcels/001_events.sql",
        "post/projections/sent_parcels.py",
        "tests/test_sent_parcels.py",
    ]
    assert "projections=[sent_parcels]" in "\n".join(plan.next_steps)
    assert not (project.root / "post").exists()


def test_in_a_project_whose_read_models_are_in_postgres_it_is_written_for_that(
    project: Project,
) -> None:
    url = Setting(name="read_models", values=("postgresql://localhost/post",), origin="option")
    on_postgres = replace(project, settings={**project.settings, "read_models": url})

    plan = new_projection(on_postgres, "sent-parcels", events=["ParcelSentEvent"])

    files = {file.path.name: file.content.decode() for file in plan.files}
    assert 'Projection[PostgresDatabase]("sent-parcels"' in files["sent_parcels.py"]
    assert "VALUES (%s, %s, %s, %s)" in files["sent_parcels.py"]
    assert "version BIGINT NOT NULL" in files["001_events.sql"]
    assert "WITHOUT ROWID" not in files["001_events.sql"]
    assert "read_models=database" in files["test_sent_parcels.py"]
    assert "PrivatePostgres" in files["conftest.py"]


def test_what_tests_share_is_left_as_it_is(project: Project) -> None:
    url = Setting(name="store", values=("postgresql://localhost/post",), origin="option")
    on_postgres = replace(project, settings={**project.settings, "store": url})
    (project.root / "tests").mkdir()
    (project.root / "tests" / "conftest.py").touch()

    plan = new_projection(on_postgres, "sent-parcels", events=["ParcelSentEvent"])

    assert "conftest.py" not in [file.path.name for file in plan.files]


@pytest.mark.parametrize("name", ["ParcelSent", "ParcelSentEvent", "parcel.v1.ParcelSentEvent"])
def test_an_event_may_be_named_in_short(project: Project, name: str) -> None:
    plan = new_projection(project, "sent-parcels", events=[name, "ParcelSentEvent"])

    [module] = [file.content for file in plan.files if file.path.name == "sent_parcels.py"]
    assert module.count(b"@sent_parcels.on(pb.ParcelSentEvent)") == 1


def test_an_unknown_event_suggests_the_nearest(project: Project) -> None:
    with pytest.raises(NotFound, match="no event 'ParcelSendEvent'") as caught:
        new_projection(project, "sent-parcels", events=["ParcelSendEvent"])

    assert caught.value.hint == "Did you mean ParcelSentEvent?"


def test_a_deprecated_event_is_refused(project: Project) -> None:
    with pytest.raises(InvalidArgument, match="is deprecated"):
        new_projection(project, "sent-parcels", events=["ParcelSentEventV1"])


def test_a_projection_without_events_is_refused(project: Project) -> None:
    with pytest.raises(InvalidArgument, match="would handle no event"):
        new_projection(project, "sent-parcels", events=[])


@pytest.mark.parametrize("name", ["", "Sent", "sent parcels", "class", "migrations", "../x"])
def test_a_name_that_makes_no_module_is_refused(project: Project, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot name a new projection"):
        new_projection(project, name, events=["ParcelSentEvent"])


def test_a_projection_that_is_there_is_not_touched(project: Project) -> None:
    new_projection(project, "sent-parcels", events=["ParcelSentEvent"]).apply()

    with pytest.raises(
        ProjectError, check=coded("TARGET_EXISTS"), match=r"sent_parcels\.py exists already"
    ):
        new_projection(project, "sent-parcels", events=["ParcelSentEvent"])
