"""A store, a place for read models, and engines over both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eskit import ANY, EventStore, NewEvent, Projection, open_store
from eskit.projections.engine import ProjectionEngine

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


@pytest.fixture
def read_models(tmp_path: Path) -> str:
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
        context.db.execute(
            f"INSERT INTO {table} VALUES (?, ?) "  # noqa: S608
            "ON CONFLICT (key) DO UPDATE SET amount = amount + excluded.amount",
            (event.key, event.amount),
        )
        context.db.execute(f"INSERT INTO {table}_seen VALUES (?)", (context.event.global_position,))  # noqa: S608

    return projection


def rows(engine: ProjectionEngine, sql: str) -> list[tuple]:
    with engine.reader() as db:
        return db.execute(sql).fetchall()


def until(condition, within: float = 30.0) -> None:
    """Return once the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come"
        time.sleep(0.01)
