"""The order and the times of the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from eskit.domain.streams import ANY
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import SettableClock, number, texts, values


class OrderContract:
    """Nobody sees the log out of order, whatever the clock does."""

    @promise("clocks-do-not-matter")
    def test_a_thousand_events_of_one_second_keep_their_order(self, store: EventStore) -> None:
        for first in range(0, 1100, 11):
            stream = f"Account-{first % 7}"
            store.append(stream, [number(first + step) for step in range(11)], expected_version=ANY)

        events = list(store.read_all())

        positions = [event.global_position for event in events]
        assert values(iter(events)) == list(range(1100))
        assert len({event.recorded_at for event in events}) == 1
        assert positions == sorted(set(positions))
        for stream in {event.stream for event in events}:
            versions = [event.version for event in events if event.stream == stream]
            assert versions == list(range(1, len(versions) + 1))

    @promise("clocks-do-not-matter")
    def test_time_never_goes_backwards(self, store: EventStore, clock: SettableClock) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)
        first = clock.now
        clock.move(hours=-1)
        store.append("Account-2", texts("b"), expected_version=ANY)
        clock.move(hours=2)
        store.append("Account-1", texts("c"), expected_version=ANY)

        times = [event.recorded_at for event in store.read_all()]

        assert times == [first, first, clock.now]

    @promise("one-order")
    def test_a_reader_that_follows_while_others_append_misses_nothing(
        self, store: EventStore
    ) -> None:
        seen: list[int] = []

        def write(writer: int) -> None:
            for value in range(25):
                store.append(f"Account-{writer}", [number(value)], expected_version=value)

        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(write, writer) for writer in range(4)]
            while len(seen) < 100 and store.wait(seen[-1] if seen else 0, 10):
                seen += [
                    event.global_position for event in store.read_all(after=seen[-1] if seen else 0)
                ]
            for future in writing:
                future.result()

        assert seen == [event.global_position for event in store.read_all()]
        assert len(set(seen)) == 100
