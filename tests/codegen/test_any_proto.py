"""Whatever valid proto one writes: its code imports, and its events survive being stored."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from eskit import NO_STREAM, NewEvent, open_store
from eskit.domain.aggregate import pending_events
from eskit.schema import jsonmap
from eskit.store.replay import replay
from tests.codegen.random_protos import Protos, messages, protos
from tests.support.trees import generate_into, importable, load

_numbers = itertools.count()  # the pool of protobuf keeps every name, so each is used once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


# Explaining a failure would generate hundreds of projects.
PHASES = [phase for phase in Phase if phase is not Phase.explain]


@settings(
    max_examples=40,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_event_of_every_proto_survives_append_read_and_replay(folder, data):
    package = f"any{next(_numbers)}"
    drawn = data.draw(protos(package=package))
    module = generated(folder, package, drawn)

    classes = {kind: aggregate_class(module, kind) for kind, _ in drawn.aggregates}

    for kind, count in drawn.aggregates:
        aggregate = classes[kind]
        declared = [method.event for method in aggregate.__aggregate__.events]
        assert len(declared) == count
        events = [data.draw(messages(event.DESCRIPTOR)) for event in declared]
        assert_survives(aggregate, events)


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many projects side by side: tools take longer to start than for one project."""
    folder = tmp_path_factory.mktemp("typed")

    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(data=st.data())
    def generate_one(data: st.DataObject) -> None:
        package = f"typed{next(_numbers)}"
        drawn = data.draw(protos(package=package))
        (folder / package).mkdir()
        generate_into(folder / package / f"{package}_app", drawn.files)

    generate_one()
    assert len(list(folder.glob("*/*_app"))) >= 20
    return folder


TOOLS = {
    "mypy": ["mypy", "--strict", "--cache-dir=.cache"],
    "pyright": ["pyright", "--pythonpath", sys.executable, "-p", "pyrightconfig.json"],
    "ruff format": ["ruff", "format", "--check", "--isolated"],
    "ruff format on long lines": ["ruff", "format", "--check", "--isolated", "--line-length=120"],
    "ruff check": [
        *("ruff", "check", "--isolated", "--ignore-noqa", "--select=F,I,RUF100,UP,W"),
        "--exclude=*_pb2.py,*_pb2.pyi",
    ],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_code_of_every_proto_satisfies(tool, apps):
    if tool == "pyright" and find_spec("pyright") is None:
        pytest.skip("pyright comes with eskit[dev]")
    (apps / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    paths = [] if tool == "pyright" else sorted(str(path) for path in apps.glob("*/*_app"))

    done = subprocess.run(
        [sys.executable, "-m", *TOOLS[tool], *paths],
        cwd=apps,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def generated(folder: Path, package: str, drawn: Protos) -> ModuleType:
    """The module with the aggregates, after importing every other one as well."""
    project = folder / package
    project.mkdir()
    generate_into(project / f"{package}_app", drawn.files)
    with importable(project):
        for path in sorted((project / f"{package}_app").rglob("*.py")):
            importlib.import_module(".".join(path.relative_to(project).with_suffix("").parts))
    return load(project, f"{package}_app.gen.{package}.state_es")


def aggregate_class(module: ModuleType, kind: str) -> Any:
    """A class with every method written, which remembers the events it was given."""
    base = next(
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and "__aggregate__" in vars(found)
        and found.__aggregate__.name == kind
    )

    def remember(self: Any, event: Any) -> None:
        self.seen = [*getattr(self, "seen", []), event]

    methods = {method.python_name: remember for method in base.__aggregate__.events}
    commands = {method.python_name: remember for method in base.__aggregate__.commands}
    deprecated = {m.python_name for m in base.__aggregate__.events if m.deprecated}
    assert base.__abstractmethods__ == {*methods, *commands} - deprecated
    return type(kind, (base,), {**methods, **commands})


def assert_survives(aggregate_class: Any, events: list[Any]) -> None:
    """Emitted, appended, read and replayed, an event is what it was."""
    aggregate = aggregate_class("a-1")
    for event in events:
        aggregate.emit(event)
    stream = f"{aggregate_class.__aggregate__.name}-a-1"
    with open_store("memory://") as store:
        if not events:
            return
        store.append(stream, pending_events(aggregate), expected_version=NO_STREAM)

        read = [recorded.message for recorded in store.read_stream(stream)]
        steps = [step.event.message for step in replay(store, aggregate_class, stream)]

    assert read == steps == aggregate.seen == events
    for event in events:
        assert NewEvent(event).event_type == type(event).DESCRIPTOR.full_name
        # A field that hides the descriptor is beyond protobuf's own JSON mapping.
        if "DESCRIPTOR" not in type(event).DESCRIPTOR.fields_by_name:
            assert jsonmap.parse(type(event), jsonmap.to_json(event)) == event
