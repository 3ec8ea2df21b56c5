"""Both stores of eskit keep the published contract."""

import pytest

from eskit.store.memory.store import MemoryStore
from eskit.store.sqlite.store import SqliteStore
from eskit.testing.store_contract import AppendsThenContract, EventStoreContract


class TestMemoryStore(EventStoreContract, AppendsThenContract):
    @pytest.fixture
    def store(self, clock):
        with MemoryStore(clock=clock) as store:
            yield store


class TestSqliteStore(EventStoreContract, AppendsThenContract):
    @pytest.fixture
    def store(self, clock, tmp_path):
        path = tmp_path / "log.db"
        with SqliteStore(path, f"sqlite:///{path}", clock=clock) as store:
            yield store
