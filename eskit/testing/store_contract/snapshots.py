"""Snapshots beside the log."""

from __future__ import annotations

from dataclasses import replace

from eskit.operations.erasing import erase
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import SettableClock, appended, snapshot


class SnapshotContract:
    """Snapshots are kept, found and dropped with their streams."""

    def test_the_newest_snapshot_that_fits_is_found(self, store: EventStore) -> None:
        events = appended(store, "Account-1", 4)
        for event in events:
            assert store.snapshots.save(snapshot(event, schema="a"), keep=9)
        store.snapshots.save(snapshot(events[3], schema="b"), keep=9)

        newest = store.snapshots.find("Account-1", schema="a", fold_version=1)
        older = store.snapshots.find("Account-1", schema="a", fold_version=1, before=3)

        assert newest is not None
        assert older is not None
        assert (newest.version, older.version) == (3, 2)
        assert (newest.event_id, newest.state) == (events[2].event_id, b"state 3")
        assert store.snapshots.find("Account-1", schema="a", fold_version=2) is None
        assert store.snapshots.find("Account-2", schema="a", fold_version=1) is None

    def test_a_snapshot_replaces_one_of_its_version_and_the_oldest_go(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        events = appended(store, "Account-1", 3)
        for event in events:
            store.snapshots.save(snapshot(event, schema="old"), keep=2)
        clock.move(hours=1)

        store.snapshots.save(snapshot(events[2], schema="new"), keep=2)

        kept = list(store.snapshots.read())
        assert [(s.version, s.schema) for s in kept] == [(2, "old"), (3, "new")]
        assert kept[1].created_at == clock.now

    def test_a_snapshot_of_an_event_that_is_not_there_is_not_kept(self, store: EventStore) -> None:
        (event,) = appended(store, "Account-1", 1)
        other = appended(store, "Account-2", 2)

        for wrong in (
            replace(snapshot(event), version=2),
            replace(snapshot(event), event_id=other[0].event_id),
            replace(snapshot(event), stream="Account-3"),
            replace(snapshot(event), tenant="acme"),
        ):
            assert not store.snapshots.save(wrong, keep=1)
        assert list(store.snapshots.read()) == []

    def test_snapshots_are_listed_and_pruned_by_stream(self, store: EventStore) -> None:
        for stream in ("Account-1", "Account-2", "Order-1"):
            for event in appended(store, stream, 3):
                store.snapshots.save(snapshot(event), keep=9)

        planned = store.snapshots.prune(keep=1, prefix="Account-", dry_run=True)
        deleted = store.snapshots.prune(keep=1, prefix="Account-")

        listed = [(s.stream, s.version) for s in store.snapshots.read()]
        assert (planned, deleted) == (4, 4)
        assert listed == [
            ("Account-1", 3),
            ("Account-2", 3),
            *(("Order-1", version) for version in (1, 2, 3)),
        ]
        assert [s.stream for s in store.snapshots.read(prefix="Account-2")] == ["Account-2"]
        assert list(store.for_tenant("acme").snapshots.read()) == []
        assert store.snapshots.prune(keep=0) == 5

    @promise("snapshots-do-not-outlive-an-erasure")
    def test_a_snapshot_does_not_outlive_the_erasure_of_its_stream(self, store: EventStore) -> None:
        (first,) = appended(store, "Account-1", 1)
        store.snapshots.save(snapshot(first), keep=9)

        erase(store, ["Account-1"], reason="asked", erased_by="ann")

        (later,) = appended(store, "Account-1", 1, after=1)
        assert list(store.snapshots.read()) == []
        assert not store.snapshots.save(snapshot(later), keep=9)
