"""The store in PostgreSQL keeps the published contracts."""

import pytest

from eskit.store.eventstore import EventStore
from eskit.store.open import locate
from eskit.testing.maintenance_contract import MaintenanceContract
from eskit.testing.store_contract import EventStoreContract, SettableClock
from tests.support.pgbouncer import needs_pgbouncer


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture
def store(clock, store_url):
    with EventStore(locate(store_url).open(create=True, clock=clock), clock=clock) as store:
        yield store


class TestPostgresStore(EventStoreContract):
    @pytest.fixture
    def store(self, store):
        return store


class TestOperationsOnPostgres(MaintenanceContract):
    @pytest.fixture
    def store(self, store):
        return store


@pytest.fixture
def pooled_store(clock, pooled_store_url):
    with EventStore(locate(pooled_store_url).open(create=True, clock=clock), clock=clock) as store:
        yield store


@needs_pgbouncer
class TestPostgresStoreBehindAPooler(EventStoreContract):
    """All but locks, which test_pooler.py sees refused."""

    test_one_at_a_time_has_a_lock = test_a_lock_has_the_note_of_its_holder = None
    test_a_checkpoint_is_saved_under_a_lock = None

    @pytest.fixture
    def store(self, pooled_store):
        return pooled_store


@needs_pgbouncer
class TestOperationsOnPostgresBehindAPooler(MaintenanceContract):
    @pytest.fixture
    def store(self, pooled_store):
        return pooled_store
