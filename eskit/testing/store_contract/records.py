"""What followers keep with the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from eskit.errors import InvalidArgument, RecordChanged
from eskit.store.eventstore import EventStore
from eskit.testing.store_contract.samples import SettableClock


class RecordContract:
    """A record is changed by who has seen its last value, and by nobody else."""

    def test_a_record_is_kept_under_its_kind_and_key(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        assert store.find_record("follower", "welcome") is None

        first = store.save_record("follower", "welcome", '{"low": 0}', expected_revision=0)
        second = store.save_record("follower", "welcome", '{"low": 4}', expected_revision=first)
        store.save_record("follower", "audit", "{}", expected_revision=0)
        store.save_record("pause", "welcome", "{}", expected_revision=0)

        found = store.find_record("follower", "welcome")
        assert found is not None
        assert (found.value, found.revision) == ('{"low": 4}', second)
        assert found.updated_at == clock.now
        assert [record.key for record in store.list_records("follower")] == ["audit", "welcome"]

    def test_who_has_not_seen_the_last_value_changes_nothing(self, store: EventStore) -> None:
        first = store.save_record("follower", "welcome", "1", expected_revision=0)
        store.save_record("follower", "welcome", "2", expected_revision=first)

        for stale in (0, first, 99):
            with pytest.raises(RecordChanged):
                store.save_record("follower", "welcome", "3", expected_revision=stale)
            with pytest.raises(RecordChanged):
                store.delete_record("follower", "welcome", expected_revision=stale)

        found = store.find_record("follower", "welcome")
        assert found is not None
        assert found.value == "2"

    def test_a_deleted_record_is_not_there(self, store: EventStore) -> None:
        revision = store.save_record("pause", "welcome", "{}", expected_revision=0)

        store.delete_record("pause", "welcome", expected_revision=revision)

        assert store.find_record("pause", "welcome") is None
        assert store.list_records("pause") == []
        with pytest.raises(RecordChanged):
            store.delete_record("pause", "welcome", expected_revision=0)
        assert store.save_record("pause", "welcome", "{}", expected_revision=0) == 1

    def test_of_many_writers_at_once_one_wins(self, store: EventStore) -> None:
        def save(number: int) -> bool:
            try:
                store.save_record("follower", "welcome", str(number), expected_revision=0)
            except RecordChanged:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(save, range(32)))

        assert won.count(True) == 1
        found = store.find_record("follower", "welcome")
        assert found is not None
        assert (found.value, found.revision) == (str(won.index(True)), 1)

    def test_a_record_is_text(self, store: EventStore) -> None:
        with pytest.raises(InvalidArgument):
            store.save_record("follower", "\ud800", "{}", expected_revision=0)
