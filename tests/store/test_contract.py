"""Both stores of eskit keep the published contract."""

from pathlib import Path

import pytest

from eskit.store.memory.store import MemoryStore
from eskit.store.sqlite.store import SqliteStore
from eskit.testing.store_contract import EventStoreContract
from eskit.testing.store_contract.event_ids import EventIdContract


class TestMemoryStore(EventStoreContract):
    @pytest.fixture
    def store(self, clock):
        with MemoryStore(clock=clock) as store:
            yield store


class TestSqliteStore(EventStoreContract):
    @pytest.fixture
    def store(self, clock, tmp_path):
        path = tmp_path / "log.db"
        with SqliteStore(path, f"sqlite:///{path}", clock=clock) as store:
            yield store


class TestOwnIdsOfSqlite(EventIdContract):
    """By the clock of the machine, by which eskit makes ids: they are looked for by their time."""

    @pytest.fixture
    def store(self):
        with SqliteStore(Path("log.db"), "sqlite:///log.db") as store:
            yield store
