"""The contract of an event store as a test suite.

Subclass it in a test module and say how a store is opened::

    class TestMyStore(EventStoreContract):
        @pytest.fixture
        def store(self, clock):
            with MyStore(clock=clock) as store:
                yield store

The store must be empty, take its time from `clock` and keep command ids for `COMMAND_TTL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from eskit.store.eventstore import EventStore
from eskit.testing.store_contract.appending import AppendContract
from eskit.testing.store_contract.claims import ClaimContract
from eskit.testing.store_contract.commands import CommandContract, TenantContract
from eskit.testing.store_contract.event_ids import EventIdContract
from eskit.testing.store_contract.following import FollowContract
from eskit.testing.store_contract.locks import LockContract
from eskit.testing.store_contract.ordering import OrderContract
from eskit.testing.store_contract.reading import ReadContract
from eskit.testing.store_contract.records import RecordContract
from eskit.testing.store_contract.refusing import RefusalContract
from eskit.testing.store_contract.samples import COMMAND_TTL as COMMAND_TTL
from eskit.testing.store_contract.samples import SettableClock as SettableClock
from eskit.testing.store_contract.samples import command as command
from eskit.testing.store_contract.samples import number as number
from eskit.testing.store_contract.samples import text as text
from eskit.testing.store_contract.samples import texts as texts
from eskit.testing.store_contract.samples import values as values
from eskit.testing.store_contract.snapshots import SnapshotContract
from eskit.testing.store_contract.submitting import SubmitContract
from eskit.testing.store_contract.unicode import UnicodeContract


class EventStoreContract(
    AppendContract,
    SubmitContract,
    OrderContract,
    ReadContract,
    EventIdContract,
    RefusalContract,
    ClaimContract,
    CommandContract,
    TenantContract,
    SnapshotContract,
    FollowContract,
    RecordContract,
    LockContract,
    UnicodeContract,
):
    """What every event store promises. Its tests are the specification."""

    @pytest.fixture
    def clock(self) -> SettableClock:
        """The clock that the store under test reads."""
        return SettableClock()

    @pytest.fixture
    def store(self, clock: SettableClock) -> Iterator[EventStore]:  # noqa: ARG002 - for subclasses
        """An empty store that reads `clock`; every subclass has its own."""
        pytest.fail("Override the fixture `store` with one that opens an empty store.")

    def test_the_store_has_every_member_of_the_port(self, store: EventStore) -> None:
        assert isinstance(store, EventStore)
        assert str(UUID(store.store_id)) == store.store_id
        assert store.url
