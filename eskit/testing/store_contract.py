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

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit.domain.aggregate import fold_row
from eskit.domain.claims import Claim, claim, release
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import Metadata, NewEvent, RecordedEvent
from eskit.domain.streams import ANY, NO_STREAM, STREAM_EXISTS, ExpectedVersion
from eskit.errors import (
    ClaimTaken,
    CommandIdReused,
    InvalidArgument,
    StoreUnavailable,
    VersionConflict,
)
from eskit.store.eventstore import EventStore
from eskit.store.snapshots import Snapshot

COMMAND_TTL = timedelta(days=7)
TEXT, NUMBER = "google.protobuf.StringValue", "google.protobuf.Int64Value"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SettableClock:
    """A clock that stands still until it is moved; called, it gives microseconds since 1970."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> int:
        """The time in the form that stores take it."""
        return (self.now - _EPOCH) // timedelta(microseconds=1)

    def move(self, **change: float) -> None:
        """Move by a timedelta, given as its arguments; negative ones set the clock back."""
        self.now += timedelta(**change)


def text(value: str, *claims: Claim, metadata: Metadata | None = None) -> NewEvent:
    """An event that holds a text."""
    return NewEvent(StringValue(value=value), claims=claims, metadata=metadata or Metadata())


def texts(*values: str) -> list[NewEvent]:
    """One event for each text."""
    return [text(value) for value in values]


def number(value: int) -> NewEvent:
    """An event of another type."""
    return NewEvent(Int64Value(value=value))


def values(events: Iterator[RecordedEvent]) -> list[object]:
    """What the events hold."""
    return [_value(event.message) for event in events]


def _value(message: Message) -> object:
    assert isinstance(message, StringValue | Int64Value)
    return message.value


def command(command_id: str, *, fingerprint: str = "Open", response: bytes = b"ok") -> Command:
    """The record of a command."""
    return Command(id=command_id, fingerprint=fingerprint, response=response)


def appended(store: EventStore, stream: str, count: int, *, after: int = 0) -> list[RecordedEvent]:
    """So many new events of a stream, as they are read back."""
    store.append(stream, texts(*"x" * count), expected_version=after)
    return list(store.read_stream(stream, after=after))


def snapshot(event: RecordedEvent, *, schema: str = "a") -> Snapshot:
    """A snapshot after an event."""
    return Snapshot(
        stream=event.stream,
        tenant=event.tenant,
        version=event.version,
        event_id=event.event_id,
        schema=schema,
        fold_version=1,
        created_at=_EPOCH,
        checksum="",
        state=f"state {event.version}".encode(),
    )


class EventStoreContract:
    """What every event store promises. Its tests are the specification."""

    @pytest.fixture
    def clock(self) -> SettableClock:
        """The clock that the store under test reads."""
        return SettableClock()

    @pytest.fixture
    def store(self, clock: SettableClock) -> Iterator[EventStore]:  # noqa: ARG002 - for subclasses
        """An empty store that reads `clock`; every subclass has its own."""
        pytest.fail("Override the fixture `store` with one that opens an empty store.")

    # --- the port ---

    def test_the_store_has_every_member_of_the_port(self, store: EventStore) -> None:
        assert isinstance(store, EventStore)
        assert str(UUID(store.store_id)) == store.store_id
        assert store.url

    # --- append ---

    def test_versions_count_from_one_and_positions_grow(self, store: EventStore) -> None:
        first = store.append("Account-1", texts("a", "b"), expected_version=NO_STREAM)
        second = store.append("Account-2", texts("c"), expected_version=NO_STREAM)

        assert (first.version, second.version) == (2, 1)
        assert 0 < first.global_position < second.global_position == store.head_position()
        assert [event.version for event in store.read_stream("Account-1")] == [1, 2]
        assert not first.already_processed

    def test_an_event_comes_back_as_it_was_appended(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        metadata = Metadata(
            correlation_id="cor",
            causation_id="cau",
            command_id="cmd",
            principal_id="ann",
            custom={"source": "web", "ключ": "☃"},
        )
        event = text("héllo\x00", metadata=metadata)

        result = store.append("Account-é-1", [event], expected_version=0, tenant="acme")

        (stored,) = store.read_stream("Account-é-1", tenant="acme")
        assert stored.global_position == result.global_position
        assert stored.stream == "Account-é-1"
        assert stored.version == 1
        assert stored.event_id == event.event_id
        assert stored.event_type == TEXT
        assert stored.recorded_at == clock.now
        assert stored.tenant == "acme"
        assert stored.metadata == metadata
        assert stored.data == event.data
        assert stored.message == event.message

    @pytest.mark.parametrize(
        ("existing", "expected"),
        [
            (0, 0),
            (0, ANY),
            (0, NO_STREAM),
            (2, 2),
            (2, ANY),
            (2, STREAM_EXISTS),
        ],
    )
    def test_append_at_the_expected_version(
        self, store: EventStore, existing: int, expected: int | ExpectedVersion
    ) -> None:
        store.append("Account-1", texts("a", "b")[:existing], expected_version=ANY)

        result = store.append("Account-1", texts("new"), expected_version=expected)

        assert result.version == store.stream_version("Account-1") == existing + 1

    @pytest.mark.parametrize(
        ("existing", "expected"),
        [
            (0, 1),
            (0, STREAM_EXISTS),
            (2, 0),
            (2, 1),
            (2, 3),
            (2, NO_STREAM),
        ],
    )
    def test_append_at_another_version_conflicts_and_changes_nothing(
        self, store: EventStore, existing: int, expected: int | ExpectedVersion
    ) -> None:
        store.append("Account-1", texts("a", "b")[:existing], expected_version=ANY)

        with pytest.raises(VersionConflict) as conflict:
            store.append(
                "Account-1",
                [text("new", claim("email", "a@b"))],
                expected_version=expected,
                command=command("c1"),
            )

        assert conflict.value.stream == "Account-1"
        assert conflict.value.expected == expected
        assert conflict.value.actual == existing
        assert store.stream_version("Account-1") == existing
        assert store.find_claim("email", "a@b") is None
        assert store.find_command("c1") is None

    def test_an_append_of_nothing_checks_the_version_and_stores_nothing(
        self, store: EventStore
    ) -> None:
        last = store.append("Account-1", texts("a"), expected_version=ANY)

        result = store.append("Account-1", [], expected_version=1)

        assert result == AppendResult(version=1, global_position=last.global_position)
        assert store.append("Account-9", [], expected_version=ANY) == AppendResult(
            version=0, global_position=0
        )
        assert [stream.stream for stream in store.list_streams()] == ["Account-1"]
        with pytest.raises(VersionConflict):
            store.append("Account-1", [], expected_version=2)

    @pytest.mark.parametrize("stream", ["", "Account", "Account-", "1-a", "-a", "Account-a\nb"])
    def test_a_stream_must_be_named_after_type_and_id(self, store: EventStore, stream: str) -> None:
        with pytest.raises(InvalidArgument):
            store.append(stream, texts("a"), expected_version=ANY)

    @pytest.mark.parametrize("expected", [-1, True, None, "any"])
    def test_an_expected_version_that_is_none_is_refused(
        self, store: EventStore, expected: int
    ) -> None:
        with pytest.raises(InvalidArgument):
            store.append("Account-1", texts("a"), expected_version=expected)

    def test_an_event_id_that_is_no_uuid_is_refused(self, store: EventStore) -> None:
        event = NewEvent(StringValue(value="a"), event_id="nonsense")

        with pytest.raises(InvalidArgument):
            store.append("Account-1", [event], expected_version=ANY)

    def test_metadata_that_no_broker_would_carry_is_refused(self, store: EventStore) -> None:
        long = Metadata(custom={"note": "é" * 8_000})

        with pytest.raises(InvalidArgument):
            store.append("Account-1", [text("a", metadata=long)], expected_version=0)

    def test_text_that_is_not_unicode_is_refused(self, store: EventStore) -> None:
        with pytest.raises(InvalidArgument):
            store.append("Account-1", [text("a", claim("email", "\ud800"))], expected_version=ANY)

        assert store.head_position() == 0

    def test_threads_that_race_for_one_version_have_one_winner(self, store: EventStore) -> None:
        barrier = threading.Barrier(8)

        def race(writer: int) -> str:
            barrier.wait(10)
            try:
                store.append("Account-1", texts(str(writer)), expected_version=0)
            except VersionConflict:
                return "lost"
            return "won"

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(race, range(8)))

        assert sorted(outcomes) == ["lost"] * 7 + ["won"]
        assert store.stream_version("Account-1") == 1

    # --- order and time ---

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

    def test_time_never_goes_backwards(self, store: EventStore, clock: SettableClock) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)
        first = clock.now
        clock.move(hours=-1)
        store.append("Account-2", texts("b"), expected_version=ANY)
        clock.move(hours=2)
        store.append("Account-1", texts("c"), expected_version=ANY)

        times = [event.recorded_at for event in store.read_all()]

        assert times == [first, first, clock.now]

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

    # --- reading ---

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
        store.append("Cart-1", texts("c"), expected_version=ANY, tenant="acme")
        store.append("Account-1", texts("d"), expected_version=ANY, tenant="acme")

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
        store.append("Account-1", texts("a", "b", "c"), expected_version=ANY, tenant="acme")

        rows = list(store.read_rows("Account-1", after=1, tenant="acme"))

        events = list(store.read_stream("Account-1", after=1, tenant="acme"))
        assert rows == [fold_row(event.row) for event in events]
        assert [version for version, *_ in rows] == [2, 3]

    def test_rows_of_the_log_are_those_of_the_events(self, store: EventStore) -> None:
        store.append("Car-1", texts(*"abcde"), expected_version=NO_STREAM)
        store.append("Boat-1", texts(*"abcd"), expected_version=NO_STREAM)
        kind = next(store.read_all()).event_type

        rows = list(store.read_log_rows(after=1, before=9, limit=6, event_types=[kind]))

        assert rows == [e.row for e in store.read_all(after=1, before=9, limit=6)]
        assert list(store.read_log_rows(event_types=["no.such.Type"])) == []

    def test_an_event_is_found_by_its_position(self, store: EventStore) -> None:
        position = store.append("Account-1", texts("a"), expected_version=ANY).global_position

        event = store.find_event(position)

        assert event is not None
        assert event.message == StringValue(value="a")
        assert store.find_event(position + 1) is None
        assert store.find_event(0) is None

    def test_events_are_counted_between_positions(self, store: EventStore) -> None:
        store.append("Account-1", [text("a"), number(1)], expected_version=ANY)
        last = store.append("Order-1", [number(2), number(3)], expected_version=ANY)

        assert store.count_events() == 4
        assert store.count_events(event_types=[NUMBER]) == 3
        assert store.count_events(event_types=[NUMBER, TEXT], before=last.global_position) == 3
        assert store.count_events(after=last.global_position) == 0

    def test_streams_are_listed_by_name(self, store: EventStore, clock: SettableClock) -> None:
        store.append("Account-2", texts("a"), expected_version=ANY)
        store.append("Account-10", texts("a"), expected_version=ANY, tenant="acme")
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
        assert [info.stream for info in store.list_streams(tenant="acme")] == ["Account-10"]
        assert [info.stream for info in store.list_streams(tenant="", limit=1)] == ["Account-2"]

    # --- claims ---

    def test_a_claimed_value_belongs_to_the_stream(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=NO_STREAM)

        assert store.find_claim("email", "a@b") == "Account-1"
        assert store.find_claim("email", "other") is None
        assert store.find_claim("name", "a@b") is None

    def test_two_new_aggregates_cannot_hold_one_value(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=NO_STREAM)

        with pytest.raises(ClaimTaken) as taken:
            store.append(
                "Customer-2", [text("b", claim("email", "a@b"))], expected_version=NO_STREAM
            )

        assert (taken.value.index, taken.value.value) == ("email", "a@b")
        assert taken.value.owner == "Account-1"
        assert store.stream_version("Customer-2") == 0

    def test_a_released_value_is_free_for_others(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=NO_STREAM)
        store.append("Account-1", [text("b", release("email", "a@b"))], expected_version=1)

        store.append("Account-2", [text("c", claim("email", "a@b"))], expected_version=NO_STREAM)

        assert store.find_claim("email", "a@b") == "Account-2"

    def test_claims_of_one_append_run_in_event_order(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "old"))], expected_version=ANY)

        store.append(
            "Account-1",
            [
                text("b", release("email", "old"), claim("email", "new")),
                text("c", release("email", "new"), claim("email", "old")),
            ],
            expected_version=ANY,
        )

        assert store.find_claim("email", "old") == "Account-1"
        assert store.find_claim("email", "new") is None

    def test_a_stream_may_claim_again_what_it_has(self, store: EventStore) -> None:
        for version in range(2):
            store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=version)

        assert store.find_claim("email", "a@b") == "Account-1"

    def test_only_the_owner_releases(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=ANY)

        store.append("Account-2", [text("b", release("email", "a@b"))], expected_version=ANY)

        assert store.find_claim("email", "a@b") == "Account-1"

    def test_releasing_what_another_has_does_not_let_one_claim_it(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=ANY)

        with pytest.raises(ClaimTaken):
            store.append(
                "Account-2",
                [text("b", release("email", "a@b"), claim("email", "a@b"))],
                expected_version=ANY,
            )

    # --- command ids ---

    def test_a_repeated_command_is_answered_with_its_first_result(self, store: EventStore) -> None:
        first = store.append(
            "Account-1", texts("a", "b"), expected_version=0, command=command("c1")
        )
        store.append("Account-1", texts("c"), expected_version=2)

        again = store.append(
            "Account-1",
            [text("a", claim("email", "a@b"))],
            expected_version=0,
            command=command("c1", response=b"other"),
        )

        assert again == AppendResult(
            version=2,
            global_position=first.global_position,
            already_processed=True,
            response=b"ok",
        )
        assert store.stream_version("Account-1") == 3
        assert store.find_claim("email", "a@b") is None

    def test_a_command_without_events_is_remembered(self, store: EventStore) -> None:
        store.append("Account-1", [], expected_version=ANY, command=command("c1"))

        again = store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))

        assert again.already_processed
        assert again.response == b"ok"
        assert store.stream_version("Account-1") == 0
        assert list(store.list_streams()) == []

    @pytest.mark.parametrize(
        ("stream", "fingerprint"), [("Account-2", "Open"), ("Account-1", "Close")]
    )
    def test_a_command_id_is_for_one_command(
        self, store: EventStore, stream: str, fingerprint: str
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))

        with pytest.raises(CommandIdReused) as reused:
            store.append(
                stream,
                texts("b"),
                expected_version=ANY,
                command=command("c1", fingerprint=fingerprint),
            )

        assert reused.value.command_id == "c1"
        assert reused.value.stream == "Account-1"
        assert store.count_events() == 1

    def test_a_processed_command_is_found(self, store: EventStore) -> None:
        result = store.append("Account-1", texts("a"), expected_version=0, command=command("c1"))

        record = store.find_command("c1")

        assert record is not None
        assert (record.id, record.fingerprint, record.stream) == ("c1", "Open", "Account-1")
        assert (record.version, record.global_position) == (1, result.global_position)
        assert record.response == b"ok"
        assert store.find_command("c2") is None

    def test_a_command_id_is_free_again_after_its_time(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))
        clock.move(seconds=COMMAND_TTL.total_seconds())
        assert store.find_command("c1") is not None
        clock.move(seconds=1)
        assert store.find_command("c1") is None

        again = store.append(
            "Account-2", texts("b"), expected_version=ANY, command=command("c1", response=b"new")
        )

        assert not again.already_processed
        record = store.find_command("c1")
        assert record is not None
        assert (record.stream, record.response) == ("Account-2", b"new")

    # --- tenants ---

    def test_tenants_share_nothing(self, store: EventStore) -> None:
        for tenant in ("", "acme", "umbrella"):
            store.append(
                "Account-1",
                [text(tenant, claim("email", "a@b"))],
                expected_version=NO_STREAM,
                command=command("c1", response=tenant.encode()),
                tenant=tenant,
            )

        for tenant in ("", "acme", "umbrella"):
            assert values(store.read_stream("Account-1", tenant=tenant)) == [tenant]
            assert store.stream_version("Account-1", tenant=tenant) == 1
            assert store.find_claim("email", "a@b", tenant=tenant) == "Account-1"
            record = store.find_command("c1", tenant=tenant)
            assert record is not None
            assert record.response == tenant.encode()
        assert store.find_claim("email", "a@b", tenant="nobody") is None
        assert store.count_events() == 3

    def test_a_tenant_with_another_name_is_refused(self, store: EventStore) -> None:
        with pytest.raises(InvalidArgument):
            store.append("Account-1", texts("a"), expected_version=ANY, tenant="no spaces")
        with pytest.raises(InvalidArgument):
            store.read_stream("Account-1", tenant="-")

    # --- checkpoints ---

    def test_a_checkpoint_names_store_position_and_event(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        assert store.load_checkpoint("relay") is None

        store.save_checkpoint("relay", position=4, event_id="e4")
        store.save_checkpoint("relay", position=5, event_id="e5")
        store.save_checkpoint("audit", position=1, event_id="e1")

        relay = store.load_checkpoint("relay")
        assert relay is not None
        assert (relay.name, relay.position, relay.event_id) == ("relay", 5, "e5")
        assert relay.store_id == store.store_id
        assert relay.updated_at == clock.now
        assert [point.name for point in store.list_checkpoints()] == ["audit", "relay"]

    # --- snapshots ---

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

        deleted = store.snapshots.prune(keep=1, prefix="Account-")

        listed = [(s.stream, s.version) for s in store.snapshots.read()]
        assert deleted == 4
        assert listed == [
            ("Account-1", 3),
            ("Account-2", 3),
            *(("Order-1", version) for version in (1, 2, 3)),
        ]
        assert [s.stream for s in store.snapshots.read(prefix="Account-2")] == ["Account-2"]
        assert list(store.snapshots.read(tenant="acme")) == []
        assert store.snapshots.prune(keep=0) == 5

    def test_a_snapshot_does_not_outlive_the_erasure_of_its_stream(self, store: EventStore) -> None:
        (first,) = appended(store, "Account-1", 1)
        store.snapshots.save(snapshot(first), keep=9)

        store.maintenance.erase_stream("Account-1", reason="asked", erased_by="ann")

        (later,) = appended(store, "Account-1", 1, after=1)
        assert list(store.snapshots.read()) == []
        assert not store.snapshots.save(snapshot(later), keep=9)

    # --- following and closing ---

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
        store.append("Account-2", texts("c"), expected_version=ANY)

        info = store.info()

        assert (info.events, info.streams, info.head) == (3, 2, store.head_position())
        assert info.store_id == store.store_id
        assert info.url == store.url

    def test_a_closed_store_refuses_and_says_so(self, store: EventStore) -> None:
        store.close()
        store.close()

        with pytest.raises(StoreUnavailable):
            store.append("Account-1", texts("a"), expected_version=ANY)
        with pytest.raises(StoreUnavailable):
            store.read_all()
        with pytest.raises(StoreUnavailable):
            store.head_position()
