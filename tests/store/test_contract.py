"""Both stores of eskit keep the published contract."""

from pathlib import Path

import pytest

from eskit.testing.store_contract import EventStoreContract
from eskit.testing.store_contract.event_ids import EventIdContract
from tests.support.stores import memory_store, sqlite_store


class TestMemoryStore(EventStoreContract):
    @pytest.fixture
    def store(self, clock):
        with memory_store(clock=clock) as store:
            yield store


class TestSqliteStore(EventStoreContract):
    @pytest.fixture
    def store(self, clock, tmp_path):
        path = tmp_path / "log.db"
        with sqlite_store(path, f"sqlite:///{path}", clock=clock) as store:
            yield store


class TestOwnIdsOfSqlite(EventIdContract):
    """By the clock of the machine, by which eskit makes ids: they are looked for by their time."""

    @pytest.fixture
    def store(self):
        with sqlite_store(Path("log.db"), "sqlite:///log.db") as store:
            yield store
