"""Locks: one at a time has one, and others can see who."""

from __future__ import annotations

from eskit.store.eventstore import EventStore


class LockContract:
    """A lock of a store has one holder, and leaves no trace when it is let go."""

    def test_one_at_a_time_has_a_lock(self, store: EventStore) -> None:
        first, second = store.lock("relay"), store.lock("relay")

        assert first.acquire()
        assert first.acquire()
        assert not second.acquire()
        assert (first.is_held(), second.is_held()) == (True, False)
        assert store.lock("another").acquire()
        first.release()
        first.release()
        assert second.acquire(patience=10.0)
        assert (first.is_held(), second.is_held()) == (False, True)
        second.release()

    def test_a_lock_has_the_note_of_its_holder(self, store: EventStore) -> None:
        lock, other = store.lock("relay"), store.lock("relay")
        lock.write("nobody has it")
        assert other.find_note() is None

        assert lock.acquire()
        lock.write("a longer note")
        lock.write("a note")
        other.write("not the holder")
        found = other.find_note()
        lock.release()

        assert found == "a note"
        assert other.find_note() is None

    def test_a_checkpoint_is_saved_under_a_lock(self, store: EventStore) -> None:
        lock = store.lock("relay")
        assert lock.acquire()

        store.save_checkpoint("relay", position=1, event_id="a", under=lock)
        lock.release()

        found = store.find_checkpoint("relay")
        assert found is not None
        assert (found.position, found.event_id) == (1, "a")
