"""What followers of the log need, and the end of a store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from eskit.domain.claims import claim
from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable
from eskit.operations.erasing import erase
from eskit.store.eventstore import EventStore
from eskit.testing.store_contract.samples import (
    COMMAND_TTL,
    SettableClock,
    command,
    snapshot,
    text,
    texts,
)


class FollowContract:
    """Followers keep their place, wake up, and are told when the store is closed."""

    def test_a_checkpoint_names_store_position_and_event(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        assert store.find_checkpoint("relay") is None

        store.save_checkpoint("relay", position=4, event_id="e4")
        store.save_checkpoint("relay", position=5, event_id="e5")
        store.save_checkpoint("audit", position=1, event_id="e1")

        relay = store.find_checkpoint("relay")
        assert relay is not None
        assert (relay.name, relay.position, relay.event_id) == ("relay", 5, "e5")
        assert relay.store_id == store.store_id
        assert relay.updated_at == clock.now
        assert [point.name for point in store.list_checkpoints()] == ["audit", "relay"]

    def test_wait_returns_at_once_when_there_is_something_new(self, store: EventStore) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)

        assert store.wait(0, 0)
        assert not store.wait(store.head_position(), 0.01)

    def test_an_append_wakes_who_waits(self, store: EventStore) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(store.wait, 0, 10)
            store.append("Account-1", texts("a"), expected_version=ANY)

            assert waiting.result(5)

    def test_the_store_counts_what_it_holds(self, store: EventStore) -> None:
        store.append("Account-1", texts("a", "b"), expected_version=ANY)
        store.append("Account-2", texts("c"), expected_version=ANY, command=command("c1"))
        store.append("Account-3", [text("x", claim("name", "x"))], expected_version=ANY)
        (kept,) = store.read_stream("Account-3")
        store.snapshots.save(snapshot(kept), keep=1)
        erase(store, ["Account-1"], reason="asked", erased_by="ann")

        info = store.info()

        assert (info.events, info.streams, info.head) == (4, 3, store.head_position())
        first, *_, last = store.read_all()
        assert (info.first_recorded_at, info.last_recorded_at) == (
            first.recorded_at,
            last.recorded_at,
        )
        assert (info.commands, info.claims, info.snapshots, info.erasures) == (1, 1, 1, 1)
        assert info.settings["command_ttl_days"] == COMMAND_TTL / timedelta(days=1)
        assert info.store_id == store.store_id
        assert info.url == store.url

    def test_an_empty_store_has_no_first_event(self, store: EventStore) -> None:
        info = store.info()

        assert (info.events, info.first_recorded_at, info.last_recorded_at) == (0, None, None)

    def test_a_read_that_outlives_its_store_is_refused_at_its_next_page(
        self, store: EventStore
    ) -> None:
        store.append("Account-1", texts(*"x" * 3000), expected_version=ANY)
        reading = store.read_all()
        next(reading)

        store.close()

        with pytest.raises(StoreUnavailable):
            list(reading)

    def test_a_closed_store_refuses_and_says_so(self, store: EventStore) -> None:
        store.close()
        store.close()

        with pytest.raises(StoreUnavailable):
            store.append("Account-1", texts("a"), expected_version=ANY)
        with pytest.raises(StoreUnavailable):
            store.read_all()
        with pytest.raises(StoreUnavailable):
            store.head_position()
