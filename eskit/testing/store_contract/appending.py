"""Appending: expected versions, and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from eskit.domain.claims import claim
from eskit.domain.commands import AppendResult
from eskit.domain.events import Metadata
from eskit.domain.streams import ANY, NO_STREAM, STREAM_EXISTS, ExpectedVersion
from eskit.errors import InvalidArgument, VersionConflict
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import (
    TEXT,
    SettableClock,
    command,
    text,
    texts,
)


class AppendContract:
    """An append is whole or it is not."""

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

        result = store.for_tenant("acme").append("Account-é-1", [event], expected_version=0)

        (stored,) = store.for_tenant("acme").read_stream("Account-é-1")
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
    @promise("appends-are-atomic")
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

    def test_metadata_that_no_broker_would_carry_is_refused(self, store: EventStore) -> None:
        long = Metadata(custom={"note": "é" * 8_000})

        with pytest.raises(InvalidArgument):
            store.append("Account-1", [text("a", metadata=long)], expected_version=0)

    @promise("one-writer-wins")
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
