"""What ``import eskit`` promises: every name, its types, and that it costs next to nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import eskit
from eskit import errors

# The contract of design: removing or renaming one of these breaks users.
PROMISED = {
    "ANY",
    "App",
    "AppendResult",
    "Command",
    "CommandContext",
    "EventContext",
    "EventStore",
    "Metadata",
    "NO_STREAM",
    "NewEvent",
    "Projection",
    "QueryContext",
    "RecordedEvent",
    "STREAM_EXISTS",
    "claim",
    "open_store",
    "release",
    "upcast",
}

HEAVY = {
    "asyncio",
    "click",
    "copier",
    "google.protobuf",
    "grpc_tools",
    "jinja2",
    "nats",
    "opentelemetry",
    "psycopg",
    "pydantic",
    "rich",
    "sqlite3",
    "sqlite_utils",
    "typer",
}


def loaded_by(statement: str) -> set[str]:
    """The modules in a fresh interpreter after a statement."""
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(result.stdout))


def test_every_promised_name_is_exported():
    assert set(eskit.__all__) >= PROMISED


def test_errors_are_in_their_module_alone():
    assert [name for name in errors.__all__ if name in eskit.__all__] == []


def test_no_name_is_exported_twice():
    assert len(eskit.__all__) == len(set(eskit.__all__))


@pytest.mark.parametrize("name", sorted(eskit.__all__))
def test_every_exported_name_resolves(name):
    assert getattr(eskit, name) is not None
    assert name in dir(eskit)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        eskit.no_such_name  # noqa: B018


def test_type_checkers_see_every_exported_name_where_it_really_is():
    tree = ast.parse(Path(eskit.__file__).read_text(encoding="utf-8"))
    imported = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]

    assert {name for _, name in imported} | {"__version__"} == set(eskit.__all__)
    for module, name in imported:
        assert getattr(import_module(module), name) is getattr(eskit, name)


def test_importing_eskit_loads_nothing_heavy():
    assert not HEAVY & (loaded_by("import eskit") - loaded_by("pass"))


def test_importing_the_errors_loads_nothing_heavy():
    assert not HEAVY & (loaded_by("import eskit.errors") - loaded_by("pass"))


@pytest.mark.parametrize("name", ["App", "Projection", "NewEvent", "EventStore"])
def test_what_user_modules_import_loads_neither_adapter_nor_command_line(name):
    adapters = HEAVY - {"google.protobuf", "asyncio"}

    assert not adapters & (loaded_by(f"from eskit import {name}") - loaded_by("pass"))


def test_the_package_says_that_it_is_typed():
    assert files("eskit").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_distribution():
    assert eskit.__version__ == version("eskit")
