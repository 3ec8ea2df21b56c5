"""Reading streams and the log."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.events import FoldRow, LogRow
from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import InvalidArgument
from eskit.store.eventstore import EventStore
from eskit.testing.store_contract.samples import (
    NUMBER,
    TEXT,
    SettableClock,
    number,
    text,
    texts,
    values,
)


class ReadContract:
    """Reads are complete, in order, and exclusive of their bounds."""

    def test_an_unknown_stream_has_no_events(self, store: EventStore) -> None:
        assert list(store.read_stream("Account-9")) == []
        assert list(store.read_rows("Account-9")) == []
        assert store.stream_version("Account-9") == 0
        assert store.head_position() == 0
        assert list(store.read_all()) == []
        assert store.find_event(1) is None

    @pytest.mark.parametrize(
        ("bounds", "expected"),
        [
            ({}, "abcde"),
            ({"after": 2}, "cde"),
            ({"before": 3}, "ab"),
            ({"after": 1, "before": 5}, "bcd"),
            ({"limit": 2}, "ab"),
            ({"limit": 0}, ""),
            ({"backward": True}, "edcba"),
            ({"backward": True, "limit": 2}, "ed"),
            ({"backward": True, "after": 1, "before": 4}, "cb"),
            ({"after": 5}, ""),
            ({"before": 0}, ""),
        ],
    )
    def test_bounds_are_exclusive_in_both_directions(
        self, store: EventStore, bounds: Any, expected: str
    ) -> None:
        store.append("Account-1", texts(*"abcde"), expected_version=ANY)

        assert values(store.read_stream("Account-1", **bounds)) == list(expected)

    def test_bounds_of_the_log_are_exclusive_positions(self, store: EventStore) -> None:
        first = store.append("Account-1", texts("a"), expected_version=ANY).global_position
        store.append("Account-2", texts("b", "c"), expected_version=ANY)
        last = store.append("Account-1", texts("d"), expected_version=ANY).global_position

        assert values(store.read_all(after=first)) == ["b", "c", "d"]
        assert values(store.read_all(before=last)) == ["a", "b", "c"]
        assert values(store.read_all(after=first, before=last, backward=True)) == ["c", "b"]
        assert values(store.read_all(limit=2, backward=True)) == ["d", "c"]
        assert values(store.read_all(before=0)) == values(store.read_all(after=last)) == []

    @pytest.mark.parametrize("bounds", [{"after": -1}, {"before": -1}, {"limit": -1}])
    def test_negative_bounds_are_refused(self, store: EventStore, bounds: Any) -> None:
        with pytest.raises(InvalidArgument):
            list(store.read_stream("Account-1", **bounds))
        with pytest.raises(InvalidArgument):
            list(store.read_all(**bounds))

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"categories": ["Account"]}, ["a", 1, "d"]),
            ({"categories": ["Order", "Account"]}, ["a", 1, "b", 2, "d"]),
            ({"event_types": [NUMBER]}, [1, 2]),
            ({"event_types": [TEXT], "categories": ["Account"]}, ["a", "d"]),
            ({"tenants": ["acme"]}, ["c", "d"]),
            ({"tenants": ["acme", ""], "event_types": [TEXT]}, ["a", "b", "c", "d"]),
            ({"tenants": [""], "categories": ["Account"]}, ["a", 1]),
            ({"categories": ["Nothing"]}, []),
            ({"event_types": ["no.Such"]}, []),
        ],
    )
    def test_filters_keep_the_order_of_the_log(
        self, store: EventStore, filters: Any, expected: list[object]
    ) -> None:
        store.append("Account-1", [text("a"), number(1)], expected_version=ANY)
        store.append("Order-1", [text("b"), number(2)], expected_version=ANY)
        store.for_tenant("acme").append("Cart-1", texts("c"), expected_version=ANY)
        store.for_tenant("acme").append("Account-1", texts("d"), expected_version=ANY)

        assert values(store.read_all(**filters)) == expected
        assert values(store.read_all(**filters, backward=True)) == expected[::-1]
        assert values(store.read_all(**filters, limit=1)) == expected[:1]

    def test_long_reads_are_complete_in_both_directions(self, store: EventStore) -> None:
        total = 3000
        for first in range(0, total, 500):
            store.append(
                "Account-1" if first % 1000 else "Order-1",
                [number(first + step) for step in range(500)],
                expected_version=ANY,
            )
        everything = list(range(total))

        assert values(store.read_all()) == everything
        assert values(store.read_all(backward=True)) == everything[::-1]
        assert values(store.read_all(event_types=[NUMBER])) == everything
        assert values(store.read_all(event_types=[NUMBER], backward=True)) == everything[::-1]
        assert values(store.read_all(limit=2500)) == everything[:2500]
        assert len(list(store.read_stream("Account-1"))) == total // 2
        assert [event.version for event in store.read_stream("Order-1", backward=True)] == list(
            range(total // 2, 0, -1)
        )

    def test_rows_for_folding_are_those_of_the_events(self, store: EventStore) -> None:
        store.for_tenant("acme").append("Account-1", texts("a", "b", "c"), expected_version=ANY)

        rows = list(store.for_tenant("acme").read_rows("Account-1", after=1))

        events = list(store.for_tenant("acme").read_stream("Account-1", after=1))
        assert rows == [FoldRow.of(event.row) for event in events]
        assert [version for version, *_ in rows] == [2, 3]

    def test_rows_of_the_log_have_what_handling_needs(self, store: EventStore) -> None:
        store.append("Car-1", texts(*"abcde"), expected_version=NO_STREAM)
        store.append("Boat-1", texts(*"abcd"), expected_version=NO_STREAM)
        kind = next(store.read_all()).event_type

        rows = list(store.read_log_rows(after=1, before=9, limit=6, event_types=[kind]))

        assert rows == [LogRow.of(e.row) for e in store.read_all(after=1, before=9, limit=6)]
        assert [event_type for _, _, event_type, _ in rows] == [kind] * 6
        assert list(store.read_log_rows(event_types=["no.such.Type"])) == []

    def test_an_event_is_found_by_its_position(self, store: EventStore) -> None:
        position = store.append("Account-1", texts("a"), expected_version=ANY).global_position

        event = store.find_event(position)

        assert event is not None
        assert event.message == StringValue(value="a")
        assert store.find_event(position + 1) is None
        assert store.find_event(0) is store.find_event(2**63) is None

    def test_events_are_counted_between_positions(self, store: EventStore) -> None:
        store.append("Account-1", [text("a"), number(1)], expected_version=ANY)
        last = store.append("Order-1", [number(2), number(3)], expected_version=ANY)

        assert store.count_events() == 4
        assert store.count_events(event_types=[NUMBER]) == 3
        assert store.count_events(event_types=[NUMBER, TEXT], before=last.global_position) == 3
        assert store.count_events(after=last.global_position) == 0

    def test_streams_are_listed_by_name(self, store: EventStore, clock: SettableClock) -> None:
        store.append("Account-2", texts("a"), expected_version=ANY)
        store.for_tenant("acme").append("Account-10", texts("a"), expected_version=ANY)
        store.append("Order-1", texts("a"), expected_version=ANY)
        opened = clock.now
        clock.move(seconds=1)
        store.append("Account-2", texts("b"), expected_version=ANY)

        listed = list(store.list_streams())

        assert [(info.stream, info.tenant) for info in listed] == [
            ("Account-10", "acme"),
            ("Account-2", ""),
            ("Order-1", ""),
        ]
        assert listed[1].category == "Account"
        assert listed[1].version == 2
        assert listed[1].first_recorded_at == opened
        assert listed[1].last_recorded_at == clock.now
        assert [info.stream for info in store.list_streams(prefix="Account-2")] == ["Account-2"]
        assert [info.stream for info in store.for_tenant("acme").list_streams()] == ["Account-10"]
        assert [info.stream for info in store.for_tenant("").list_streams(limit=1)] == ["Account-2"]
