"""What ``import eskit`` promises: every name, its types, and that it costs next to nothing."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import eskit
from eskit import errors

CHECKOUT = Path(__file__).parents[1]

# What is public: removing or renaming one of these breaks users.
PUBLIC = {
    "eskit": """
        ANY Aggregate App AppendResult CallOptions Command CommandContext EventContext EventStore
        FailurePolicy Metadata NO_STREAM NewEvent PostgresDatabase Projection QueryContext Reaction
        ReactionContext RecordedEvent RunningApp STREAM_EXISTS SnapshotPolicy claim open_store
        release upcast
    """,
    "eskit.clients": """
        CallOptions Chain Connection Environment File GrpcTransport InProcessTransport Jwt Login
        NKey NatsTransport Provider ReadYourWrites Reply Static Tls Token Transport UserPassword
        connected
    """,
    "eskit.messaging": """
        DeadLetter EventBus Subscriber Subscription memory_bus nats_bus store_bus
    """,
    "eskit.middleware": """
        ANYBODY Authenticator Call Middleware Passage Reply Roles claimed_principal log_calls
        recover require_tenant trace validate
    """,
    "eskit.schema": "to_dict to_json",
    "eskit.store": "EventDecoder Repository",
    "eskit.testing": """
        Accepted EventStoreContract Given MaintenanceContract NOW Outcome PrivatePostgres
        Projected ReadModelContract given projecting
    """,
}
# Not for people: code that an older eskit has generated imports these.
GENERATED = {
    "eskit.generated": """
        Aggregate AggregateType CallOptions Client CommandContext EventMethod Method QueryContext
        QueryHandler ServiceBinding ServiceType Transport UpcastingInvalid bind
    """,
}
FACADES = {module: set(names.split()) for module, names in (PUBLIC | GENERATED).items()}
NAMES = sorted((module, name) for module, names in FACADES.items() for name in names)

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


def stub_of(module: str) -> Path:
    """The file that names what a module exports, once: for type checkers and when it runs."""
    return Path(str(import_module(module).__file__)).with_suffix(".pyi")


@pytest.mark.parametrize("module", FACADES)
def test_what_is_public_is_what_is_exported(module):
    assert set(import_module(module).__all__) == FACADES[module]
    assert set(dir(import_module(module))) == FACADES[module]


def test_the_first_names_are_few():
    assert len(FACADES["eskit"]) <= 26


def test_errors_are_in_their_module_alone():
    assert [name for name in errors.__all__ if name in eskit.__all__] == []


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_exported_name_resolves(module, name):
    assert getattr(import_module(module), name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        eskit.no_such_name  # noqa: B018


@pytest.mark.parametrize("module", FACADES)
def test_type_checkers_see_every_exported_name_where_it_really_is(module):
    tree = ast.parse(stub_of(module).read_text(encoding="utf-8"))
    imported = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]

    assert {name for _, name in imported} == FACADES[module]
    for home, name in imported:
        assert getattr(import_module(home), name) is getattr(import_module(module), name)


@pytest.mark.parametrize("module", FACADES)
def test_no_exported_name_is_that_of_a_submodule(module):
    """Importing the submodule would put it in the place of the name."""
    folder = stub_of(module).parent if stub_of(module).name == "__init__.pyi" else Path("none")
    submodules = {path.name.partition(".")[0] for path in folder.glob("*")}

    assert not submodules & FACADES[module]


@pytest.mark.parametrize("module", FACADES)
def test_importing_a_facade_loads_none_of_its_names(module):
    before = loaded_by("import eskit.exports")
    parents = {module.rpartition(".")[0], module, "eskit"}

    assert loaded_by(f"import {module}") - before <= parents


DOCUMENTED = [
    *sorted(CHECKOUT.glob("*.md")),
    *sorted(CHECKOUT.glob("docs/**/*.md")),
    *sorted(CHECKOUT.glob("templates/**/*.jinja")),
]
_FROM = re.compile(
    r"^\s*(?:[>$.]+ )?from (?P<module>eskit[\w.]*) import (?P<names>\([^)]*\)|[^\n]*)", re.MULTILINE
)
_JINJA = re.compile(r"\{%.*?%\}")
_IMPORT = re.compile(r"^\s*(?:[>$.]+ )?import (?P<module>eskit[\w.]*)", re.MULTILINE)


def imports_of_eskit(text: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import in a document or template."""
    for found in _FROM.finditer(text):
        for name in found["names"].strip("()").split(","):
            if name.strip():
                yield found["module"], name.split()[0]
    for found in _IMPORT.finditer(text):
        yield found["module"], ""


def test_nothing_documented_lies_deeper_than_a_facade():
    found = [
        (path.relative_to(CHECKOUT), module, name)
        for path in DOCUMENTED
        for module, name in imports_of_eskit(_JINJA.sub("", path.read_text(encoding="utf-8")))
    ]

    assert len(found) > 50
    assert [one for one in found if one[1].count(".") > 1] == []
    assert [
        (path, module, name) for path, module, name in found if not is_public(module, name)
    ] == []


def is_public(module: str, name: str) -> bool:
    """Whether a name is exported by a façade, or is an error."""
    return name in {"", "__version__"} or name in FACADES.get(module, vars(import_module(module)))


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
