"""Appends that nobody waits for, in stores that offer them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from eskit.domain.claims import claim
from eskit.domain.commands import AppendResult
from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import (
    ClaimTaken,
    CommandIdReused,
    InvalidArgument,
    StoreUnavailable,
    VersionConflict,
)
from eskit.store.eventstore import AppendsThen, EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import command, text, texts, values

_PATIENCE = 20.0  # seconds


class Told:
    """What an append has been told, how often, and in which thread."""

    def __init__(self) -> None:
        self.outcomes: list[AppendResult | Exception] = []
        self.thread = ""
        self._first = Future[AppendResult | Exception]()

    def __call__(self, outcome: AppendResult | Exception) -> None:
        """Take an outcome."""
        self.outcomes.append(outcome)
        self.thread = threading.current_thread().name
        if len(self.outcomes) == 1:
            self._first.set_result(outcome)

    def wait(self) -> AppendResult | Exception:
        """The first outcome; TimeoutError if it does not come."""
        return self._first.result(_PATIENCE)

    def version(self) -> int:
        """The version in the first outcome, which is no error."""
        outcome = self.wait()
        assert isinstance(outcome, AppendResult)
        return outcome.version


class AppendsThenContract:
    """Beside EventStoreContract, for a store that is an AppendsThen; with the same fixtures."""

    def test_the_store_says_that_it_can(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)

    @promise("asynchronous-appends-are-answered-once")
    def test_told_is_what_append_would_return_or_raise(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)
        done, repeated, conflict, taken, reused, invalid = (Told() for _ in range(6))

        store.append_then(
            "Account-1",
            [text("a", claim("email", "x")), text("b")],
            done,
            expected_version=NO_STREAM,
            command=command("c1"),
        )
        first = done.wait()
        store.append_then(
            "Account-1", texts("a"), repeated, expected_version=0, command=command("c1")
        )
        store.append_then("Account-1", texts("c"), conflict, expected_version=1)
        store.append_then("Account-2", [text("d", claim("email", "x"))], taken, expected_version=0)
        other = command("c1", fingerprint="Close")
        store.append_then("Account-1", texts("e"), reused, expected_version=ANY, command=other)
        store.append_then("no stream", texts("f"), invalid, expected_version=ANY)

        assert isinstance(first, AppendResult)
        assert first == AppendResult(2, first.global_position, response=b"ok")
        assert repeated.wait() == first._replace(already_processed=True)
        errors = (conflict, VersionConflict), (taken, ClaimTaken), (reused, CommandIdReused)
        for told, error in (*errors, (invalid, InvalidArgument)):
            assert isinstance(told.wait(), error)
        assert store.count_events() == 2

    @promise("asynchronous-appends-are-answered-once")
    def test_every_append_is_told_of_once_and_the_log_has_it_then(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)
        seen = []

        class Look(Told):
            def __call__(self, outcome: AppendResult | Exception) -> None:
                seen.append(store.count_events())
                super().__call__(outcome)

        def leave(stream: str) -> list[Look]:
            many = [Look() for _ in range(50)]
            for told in many:
                store.append_then(stream, texts("a"), told, expected_version=ANY)
            return many

        with ThreadPoolExecutor(4) as pool:
            left = [pool.submit(leave, f"Account-{number}") for number in range(4)]
            for future in left:
                versions = [told.version() for told in future.result(_PATIENCE)]
                assert versions == list(range(1, 51))
        assert all(len(told.outcomes) == 1 for future in left for told in future.result())
        assert len(seen) == 200
        assert min(seen) >= 1
        assert max(seen) == 200

    def test_what_is_told_may_append_in_turn(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)
        last = Told()
        store_then = store.append_then

        def go_on(outcome: AppendResult | Exception) -> None:
            assert isinstance(outcome, AppendResult)
            then = last if outcome.version == 49 else go_on
            store_then("Account-1", texts("a"), then, expected_version=outcome.version)

        store.append_then("Account-1", texts("a"), go_on, expected_version=0)

        assert last.version() == 50

    def test_what_is_told_may_append_and_wait(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)
        last = Told()

        def append(_outcome: AppendResult | Exception) -> None:
            store.append("Account-2", texts("b"), expected_version=0)
            store.save_checkpoint("relay", position=1, event_id="")
            last(store.append("Account-2", texts("c"), expected_version=1))

        store.append_then("Account-1", texts("a"), append, expected_version=0)

        assert last.version() == 2
        assert values(store.read_all()) == ["a", "b", "c"]

    def test_what_is_told_may_close_the_store(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)
        told, refused, behind = Told(), Told(), Told()

        def close(outcome: AppendResult | Exception) -> None:
            store.append_then("Account-2", texts("b"), behind, expected_version=ANY)
            store.close()
            try:
                store.append("Account-1", texts("c"), expected_version=ANY)
            except StoreUnavailable as error:
                refused(error)
            told(outcome)

        store.append_then("Account-1", texts("a"), close, expected_version=0)

        assert (told.version(), behind.version()) == (1, 1)
        assert isinstance(refused.outcomes[0], StoreUnavailable)
        store.close()

    @pytest.mark.parametrize("error", [LookupError, SystemExit])
    def test_what_is_told_may_fail_and_takes_nobody_with_it(
        self, store: EventStore, error: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert isinstance(store, AppendsThen)
        after = Told()

        def fail(_outcome: AppendResult | Exception) -> None:
            raise error("nobody takes it")

        store.append_then("Account-1", texts("a"), fail, expected_version=ANY)
        store.append_then("Account-1", texts("b"), after, expected_version=ANY)

        assert after.version() == 2
        assert "nobody takes it" in caplog.text

    def test_a_closed_store_takes_no_more(self, store: EventStore) -> None:
        assert isinstance(store, AppendsThen)
        told = Told()
        store.close()

        with pytest.raises(StoreUnavailable):
            store.append_then("Account-1", texts("a"), told, expected_version=ANY)

        assert told.outcomes == []
