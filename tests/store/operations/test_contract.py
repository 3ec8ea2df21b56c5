"""The operations of the stores that eskit brings pass the contract."""

import pytest

from eskit.store.memory.store import MemoryStore
from eskit.store.sqlite.store import SqliteStore
from eskit.testing.maintenance_contract import MaintenanceContract
from eskit.testing.store_contract import SettableClock


@pytest.fixture
def clock():
    return SettableClock()


class TestMemory(MaintenanceContract):
    @pytest.fixture
    def store(self, clock):
        with MemoryStore(clock=clock) as store:
            yield store


class TestSqlite(MaintenanceContract):
    @pytest.fixture
    def store(self, tmp_path, clock):
        path = tmp_path / "log.db"
        with SqliteStore(path, f"sqlite:///{path}", clock=clock) as store:
            yield store
