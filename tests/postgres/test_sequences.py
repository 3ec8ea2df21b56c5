"""Numbers that PostgreSQL gives to rows are those that a rebuild gives them."""

from __future__ import annotations

import pytest

from eskit import ANY, FailurePolicy, NewEvent, PostgresDatabase, Projection, open_store
from eskit.errors import ProjectionFailed
from eskit.projections.engine import ProjectionEngine
from tests.projections.conftest import rows
from tests.support.account_events import Counted

ROWS = "SELECT id, ticket, key FROM numbered ORDER BY id"


@pytest.fixture
def refused():
    """Keys on which the handler raises, after it has written."""
    return set()


@pytest.fixture
def numbered(tmp_path, refused):
    folder = tmp_path / "numbered"
    folder.mkdir()
    (folder / "1_numbered.sql").write_text(
        "CREATE SEQUENCE tickets START 100;"
        "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " ticket bigint DEFAULT nextval('tickets'), key text);"
    )
    numbered = Projection[PostgresDatabase](
        "numbered", migrations=folder, on_failure=FailurePolicy(retries=0)
    )

    @numbered.on(Counted)
    def counted(event, context):
        context.db.execute("INSERT INTO numbered (key) VALUES (%s)", (event.key,))
        if event.key in refused:
            raise KeyError(event.key)

    return numbered


@pytest.fixture
def store():
    with open_store("memory://") as store:
        yield store


@pytest.fixture
def engine_of(store, store_url, numbered):
    engines = []

    def make():
        engines.append(ProjectionEngine(store, [numbered], store_url))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def append(store, *keys):
    events = [NewEvent(Counted(key=key, amount=1)) for key in keys]
    store.append("Account-1", events, expected_version=ANY)


@pytest.mark.promise("rebuilds-equal-following")
def test_transactions_that_were_undone_leave_no_gap(store, engine_of, refused):
    append(store, *"abcde")
    refused.add("d")
    with pytest.raises(ProjectionFailed):
        engine_of().run()
    refused.clear()
    engine = engine_of()  # another process, as after a crash

    engine.run()

    made = rows(engine, ROWS)
    assert [(number, ticket) for number, ticket, _ in made] == [(n, 99 + n) for n in range(1, 6)]
    assert engine.diff("numbered").equal
    engine.rebuild("numbered")
    assert rows(engine, ROWS) == made


@pytest.mark.promise("rebuilds-equal-following")
def test_rows_after_a_rebuild_count_on_from_those_that_were_built(store, engine_of, refused):
    append(store, *"abc")
    engine = engine_of()
    engine.run()
    append(store, "d")
    refused.add("d")
    with pytest.raises(ProjectionFailed):
        engine.rebuild("numbered")
    refused.clear()
    engine.rebuild("numbered")
    engine.rebuild("numbered", in_place=True)
    append(store, "e")

    engine.run()

    assert rows(engine, ROWS) == [(n, 99 + n, key) for n, key in enumerate("abcde", start=1)]
    assert engine.diff("numbered").equal
