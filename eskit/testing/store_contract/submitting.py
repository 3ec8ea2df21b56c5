"""Submitting: appends that nobody waits for."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

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
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import command, text, texts, values

_PATIENCE = 20.0  # seconds


def version(submitted: Future[AppendResult]) -> int:
    """The version that an append came to; raises TimeoutError if it does not end."""
    return submitted.result(_PATIENCE).version


class SubmitContract:
    """What `submit` promises; part of EventStoreContract."""

    @promise("asynchronous-appends-are-answered-once")
    def test_the_future_has_what_append_would_return_or_raise(self, store: EventStore) -> None:
        first = store.submit(
            "Account-1",
            [text("a", claim("email", "x")), text("b")],
            expected_version=NO_STREAM,
            command=command("c1"),
        ).result(_PATIENCE)
        repeated = store.submit("Account-1", texts("a"), expected_version=0, command=command("c1"))
        conflict = store.submit("Account-1", texts("c"), expected_version=1)
        taken = store.submit("Account-2", [text("d", claim("email", "x"))], expected_version=0)
        other = command("c1", fingerprint="Close")
        reused = store.submit("Account-1", texts("e"), expected_version=ANY, command=other)
        invalid = store.submit("no stream", texts("f"), expected_version=ANY)

        assert first == AppendResult(2, first.global_position, response=b"ok")
        assert repeated.result(_PATIENCE) == first._replace(already_processed=True)
        errors = (conflict, VersionConflict), (taken, ClaimTaken), (reused, CommandIdReused)
        for submitted, error in (*errors, (invalid, InvalidArgument)):
            assert isinstance(submitted.exception(_PATIENCE), error)
        assert store.count_events() == 2

    @promise("asynchronous-appends-are-answered-once")
    def test_every_append_is_reported_once_and_the_log_has_it_then(self, store: EventStore) -> None:
        reported: SimpleQueue[tuple[Future[AppendResult], int]] = SimpleQueue()

        def report(submitted: Future[AppendResult]) -> None:
            reported.put((submitted, store.count_events()))

        def submit(stream: str) -> list[Future[AppendResult]]:
            many = [store.submit(stream, texts("a"), expected_version=ANY) for _ in range(50)]
            for submitted in many:
                submitted.add_done_callback(report)
            return many

        with ThreadPoolExecutor(4) as pool:
            left = [pool.submit(submit, f"Account-{number}") for number in range(4)]
            for future in left:
                assert [version(one) for one in future.result(_PATIENCE)] == list(range(1, 51))
        reports = [reported.get(timeout=_PATIENCE) for _ in range(200)]

        assert {submitted for submitted, _ in reports} == {
            submitted for future in left for submitted in future.result()
        }
        assert min(count for _, count in reports) >= 1
        assert max(count for _, count in reports) == 200
        assert reported.empty()

    def test_a_callback_may_submit_in_turn(self, store: EventStore) -> None:
        last: Future[int] = Future()

        def go_on(submitted: Future[AppendResult]) -> None:
            reached = submitted.result().version
            if reached == 50:
                last.set_result(reached)
            else:
                submit(reached)

        def submit(expected: int) -> None:
            following = store.submit("Account-1", texts("a"), expected_version=expected)
            following.add_done_callback(go_on)

        submit(0)

        assert last.result(_PATIENCE) == 50

    def test_a_callback_may_append_and_wait(self, store: EventStore) -> None:
        done: Future[int] = Future()

        def append(_submitted: Future[AppendResult]) -> None:
            store.append("Account-2", texts("b"), expected_version=0)
            store.save_checkpoint("relay", position=1, event_id="")
            done.set_result(store.append("Account-2", texts("c"), expected_version=1).version)

        submitted = store.submit("Account-1", texts("a"), expected_version=0)
        submitted.add_done_callback(append)

        assert done.result(_PATIENCE) == 2
        assert values(store.read_all()) == ["a", "b", "c"]

    def test_a_callback_may_close_the_store(self, store: EventStore) -> None:
        behind: Future[Future[AppendResult]] = Future()
        refused: Future[str] = Future()

        def close(_submitted: Future[AppendResult]) -> None:
            behind.set_result(store.submit("Account-2", texts("b"), expected_version=ANY))
            store.close()
            try:
                store.append("Account-1", texts("c"), expected_version=ANY)
            except StoreUnavailable as error:
                refused.set_result(error.message)

        submitted = store.submit("Account-1", texts("a"), expected_version=0)
        submitted.add_done_callback(close)

        assert "closed" in refused.result(_PATIENCE)
        assert version(submitted) == version(behind.result(_PATIENCE)) == 1
        store.close()

    def test_a_callback_may_fail_and_takes_nobody_with_it(
        self, store: EventStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_submitted: Future[AppendResult]) -> None:
            raise LookupError("nobody takes it")

        submitted = store.submit("Account-1", texts("a"), expected_version=ANY)
        submitted.add_done_callback(fail)

        assert version(store.submit("Account-1", texts("b"), expected_version=ANY)) == 2
        assert "nobody takes it" in caplog.text

    def test_a_closed_store_takes_no_more(self, store: EventStore) -> None:
        store.close()

        with pytest.raises(StoreUnavailable):
            store.submit("Account-1", texts("a"), expected_version=ANY)
