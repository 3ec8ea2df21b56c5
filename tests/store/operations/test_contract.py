"""The operations of the stores that eskit brings pass the contract."""

import pytest

from eskit.testing.maintenance_contract import MaintenanceContract
from eskit.testing.store_contract import SettableClock
from tests.support.stores import memory_store, sqlite_store


@pytest.fixture
def clock():
    return SettableClock()


class TestMemory(MaintenanceContract):
    @pytest.fixture
    def store(self, clock):
        with memory_store(clock=clock) as store:
            yield store


class TestSqlite(MaintenanceContract):
    @pytest.fixture
    def store(self, tmp_path, clock):
        path = tmp_path / "log.db"
        with sqlite_store(path, f"sqlite:///{path}", clock=clock) as store:
            yield store
