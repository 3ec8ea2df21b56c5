"""A store, a place for read models, and engines over both."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eskit import ANY, EventStore, NewEvent, Projection, open_store
from eskit.postgres.connection import connect
from eskit.postgres.url import is_postgres, parse_url
from eskit.projections.engine import ProjectionEngine
from tests.support.postgres import new_store, server_url

Append = Callable[..., None]
MakeEngine = Callable[..., ProjectionEngine]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        yield store


@pytest.fixture
def append(store: EventStore) -> Append:
    """Append messages to one stream."""

    def append(*messages, stream: str = "Account-1") -> None:
        store.append(stream, [NewEvent(message) for message in messages], expected_version=ANY)

    return append


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses `read_models` in both databases, unless it is about a SQLite file."""
    if "read_models" in metafunc.fixturenames:
        about_files = metafunc.definition.get_closest_marker("sqlite_only") is not None
        kinds = ["sqlite"] if about_files else ["sqlite", "postgres"]
        metafunc.parametrize("read_models", kinds, indirect=True)


postgres = pytest.fixture(scope="session")(server_url)


@pytest.fixture
def read_models(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a place for read models that is not there yet."""
    if request.param == "postgres":
        return new_store(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path}/read.db"


@pytest.fixture
def engine_of(store: EventStore, read_models: str) -> Iterator[MakeEngine]:
    """An engine for projections over the store; closed after the test."""
    engines = []

    def make(*projections: Projection, **options) -> ProjectionEngine:
        engines.append(ProjectionEngine(store, projections, read_models, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def counts(tmp_path: Path) -> Projection:
    return counting(tmp_path)


def counting(folder: Path, name: str = "counts", *, version: int = 1) -> Projection:
    """How often each key was counted, and the order in which it happened."""
    from tests.support.account_events import Counted

    table = name.replace("-", "_")
    migrations = folder / f"migrations-{name}"
    migrations.mkdir(exist_ok=True)
    (migrations / "0001_counts.sql").write_text(
        f"CREATE TABLE {table} (key TEXT PRIMARY KEY, amount INTEGER NOT NULL);\n"
        f"CREATE TABLE {table}_seen (position INTEGER NOT NULL);\n"
    )
    projection = Projection(name, migrations=migrations, version=version)

    @projection.on(Counted)
    def counted(event, context) -> None:
        execute(
            context.db,
            f"INSERT INTO {table} VALUES (?, ?) "  # noqa: S608
            f"ON CONFLICT (key) DO UPDATE SET amount = {table}.amount + excluded.amount",
            event.key,
            event.amount,
        )
        execute(context.db, f"INSERT INTO {table}_seen VALUES (?)", context.event.global_position)  # noqa: S608

    return projection


def execute(db, sql: str, *parameters):
    """Run a statement, whose parameters are ?, in the words of whichever database it is."""
    return db.execute(sql if hasattr(db, "conn") else sql.replace("?", "%s"), parameters)


def alter(read_models: str, sql: str) -> None:
    """Do something to a read model behind eskit's back."""
    if not is_postgres(read_models):
        with closing(sqlite3.connect(read_models.removeprefix("sqlite:///"))) as file, file:
            file.execute(sql)
        return
    with connect(parse_url(read_models)) as connection:
        connection.execute(sql)


def rows(engine: ProjectionEngine, sql: str) -> list[tuple]:
    with engine.reader() as db:
        return db.execute(sql).fetchall()


def until(condition, within: float = 30.0) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come"
        time.sleep(0.01)
