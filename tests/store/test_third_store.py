"""A third store, as small as one can be, keeps the contracts that eskit publishes."""

from pathlib import Path

import pytest

from eskit.store.eventstore import EventStore
from eskit.testing.maintenance_contract import MaintenanceContract
from eskit.testing.store_contract import COMMAND_TTL, EventStoreContract, SettableClock, texts
from tests.support import json_store
from tests.support.json_store import JsonStorage

FILE = Path("log.json")


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture
def store(clock):
    with EventStore(JsonStorage(FILE, clock, COMMAND_TTL), clock=clock) as store:
        yield store


class TestContract(EventStoreContract):
    @pytest.fixture
    def store(self, clock):
        with EventStore(JsonStorage(FILE, clock, COMMAND_TTL), clock=clock) as store:
            yield store


class TestMaintenance(MaintenanceContract):
    pass


def test_what_it_holds_is_there_when_it_is_opened_again(store, clock):
    store.append("Account-1", texts("a", "b"), expected_version=0)
    store.close()

    with EventStore(JsonStorage(FILE, clock, COMMAND_TTL), clock=clock) as again:
        assert again.stream_version("Account-1") == 2
        assert again.store_id == store.store_id


def test_it_is_as_small_as_promised():
    lines = Path(json_store.__file__).read_text().splitlines()

    assert len(lines) <= 250
