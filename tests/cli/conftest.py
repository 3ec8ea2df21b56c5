"""Ways to run eskit: in this process for what needs no user code, as a real process otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eskit import NO_STREAM, Metadata, NewEvent, open_store
from eskit.cli.main import main
from eskit.schema.response_pb2 import AppError
from tests.support.running import DEPOSIT, WITHDRAW, Ran, eskit, launcher, move, open_account

launch = pytest.fixture(launcher)


@pytest.fixture
def cli(capsys) -> Callable[..., Ran]:
    """Run a command in this process, in an empty folder."""

    def run(*args: str) -> Ran:
        capsys.readouterr()
        code = main(args)
        found = capsys.readouterr()
        return Ran(code, found.out, found.err)

    return run


@pytest.fixture(scope="session")
def bank_template(tmp_path_factory) -> Path:
    """A generated bank with two accounts; copied by `bank`, never used itself."""
    folder = tmp_path_factory.mktemp("bank")
    made = eskit("new", "project", "bank", "--template", "bank", cwd=folder)
    assert made.code == 0, made.err
    project = folder / "bank"
    generated = eskit("gen", cwd=project)
    assert generated.code == 0, generated.err
    for done in (
        open_account(project, "acc-001"),
        move(project, DEPOSIT, "acc-001", "250.50"),
        move(project, WITHDRAW, "acc-001", "50.25"),
        open_account(project, "acc-002", "Bob", "5.00"),
    ):
        assert done.code == 0, done.err
    return project


@pytest.fixture
def bank(bank_template, tmp_path) -> Path:
    """A bank of the test's own: four events in two accounts, no projection run yet."""
    target = tmp_path / "bank"
    shutil.copytree(bank_template, target)
    return target


@pytest.fixture
def store_url(tmp_path) -> str:
    """A store with a stream of two events whose payloads eskit itself can decode."""
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with open_store(url) as store:
        store.append(
            "Thing-a1",
            [
                NewEvent(AppError(code="ONE", message="first")),
                NewEvent(
                    AppError(code="TWO", details={"k": "v"}),
                    metadata=Metadata(principal_id="bob", custom={"shop": "7"}),
                ),
            ],
            expected_version=NO_STREAM,
        )
    return url
