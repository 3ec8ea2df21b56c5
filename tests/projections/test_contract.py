"""The read models keep the published contract: SQLite in a file and in memory, and a third one."""

import pytest

from eskit import ANY, NewEvent, Projection
from eskit.projections.engine import ProjectionEngine
from eskit.projections.sqlite.read_models import SqliteReadModels
from eskit.testing.read_model_contract import ReadModelContract
from eskit.testing.read_model_contract.samples import Tables as SqlTables
from tests.projections.json_read_model import JsonReadModels, Tables
from tests.support.account_events import Counted
from tests.support.postgres import new_store


class TestSqliteReadModels(ReadModelContract):
    @pytest.fixture(params=["sqlite:///{}/read.db", "memory://"], ids=["file", "memory"])
    def models(self, request, tmp_path):
        models = SqliteReadModels(request.param.format(tmp_path))
        yield models
        models.close()


class TestPostgresReadModels(ReadModelContract):
    @pytest.fixture
    def models(self, postgres):
        from eskit.projections.opening import open_read_models

        models = open_read_models(new_store(postgres))
        yield models
        models.close()


class JsonTables(SqlTables):
    broken = "drop everything"

    def create(self, table: str) -> str:
        return f"create {table}\n"

    def set_amounts(self, table: str, amount: int) -> str:
        return f"set {table} {amount}"

    def add_column(self, table: str, column: str) -> str:
        return f"add {table} {column}"

    def insert(self, db: Tables, table: str, name: str, amount: int) -> None:
        db.insert(table, name, amount)

    def rows(self, db: Tables, table: str) -> list[tuple[str, int]]:
        return db.rows(table)

    def columns(self, db: Tables, table: str) -> list[str]:
        return db.columns(table)

    def commit(self, db: Tables) -> None:
        raise NotImplementedError(f"{db} has no way to end a transaction")


class TestJsonReadModels(ReadModelContract):
    tables = JsonTables()

    @pytest.fixture
    def models(self, tmp_path):
        return JsonReadModels(tmp_path / "read.json")


def test_projections_of_a_third_read_model_are_run_rebuilt_compared_and_retried(store, tmp_path):
    """With its own `context.db`, and nothing of SQLite."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "1_counts.sql").write_text("create counts\n")
    counts = Projection[Tables]("counts", migrations=folder)
    refuses = {"b"}

    @counts.on(Counted)
    def counted(event, context):
        if event.key in refuses:
            raise KeyError(event.key)
        context.db.insert("counts", event.key, event.amount)

    for key, amount in (("a", 1), ("b", 2), ("c", 3)):
        event = NewEvent(Counted(key=key, amount=amount))
        store.append(f"Account-{key}", [event], expected_version=ANY)
    engine = ProjectionEngine(store, [counts], JsonReadModels(tmp_path / "read.json"))

    (stopped,) = engine.run_each()
    (status,) = engine.status()
    refuses.clear()
    (report,) = engine.run_each()
    rebuilt = engine.rebuild("counts")

    assert (stopped.events, status.state, status.failures[0].error) == (
        1,
        "failed",
        "KeyError: 'b'",
    )
    assert (report.events, rebuilt.events) == (2, 3)
    assert engine.diff("counts").equal
    with engine.reader() as db:
        assert db.rows("counts") == [("a", 1), ("b", 2), ("c", 3)]
    engine.close()
