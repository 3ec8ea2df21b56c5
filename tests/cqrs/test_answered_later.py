"""Commands that no thread waits for: answered as `handle` answers them, after the commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.app import App, RunningApp
from eskit.cqrs.middleware import Call, Passage, log_calls
from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.events import NewEvent
from eskit.domain.services import Method
from eskit.domain.streams import ANY
from eskit.errors import CommandIdReused, CommandRejected, VersionConflict
from eskit.store.repository import Repository
from tests.support.stores import sqlite_store
from tests.support.writing import Gate

COUNT = Method(
    service="tally.v1.TallyCommandService",
    name="Count",
    python_name="count",
    kind="command",
    request=StringValue,
    response=StringValue,
)


class Tally(Aggregate[StringValue, Any]):
    """Counts to three; a command names it."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Tally",
        state=StringValue,
        id_field="value",
        commands=(COUNT,),
        events=(EventMethod(event=StringValue, python_name="on_counted"),),
    )
    before_deciding: ClassVar[Callable[[], object]] = staticmethod(lambda: None)

    def count(self, command: StringValue) -> StringValue:
        type(self).before_deciding()
        if self.version == 3:
            raise CommandRejected("FULL", "It counts to three")
        self.emit(command)
        return StringValue(value=f"{command.value} {self.version}")

    def on_counted(self, event: StringValue) -> None:
        self.state.value = event.value


def looking(call: Call) -> Passage:
    """Sees the reply, and leaves it as it is."""
    reply = yield call
    return replace(reply)


class Threads(ThreadPoolExecutor):
    """Threads for what has to wait, and how often one was asked for."""

    def __init__(self) -> None:
        super().__init__(4)
        self.asked = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.asked += 1
        return super().submit(fn, *args, **kwargs)


def said(answer: Future[Reply]) -> str:
    message = answer.result(20).message
    assert isinstance(message, StringValue)
    return message.value


@pytest.fixture
def threads() -> Iterator[Threads]:
    with Threads() as threads:
        yield threads


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(params=[(), (looking, log_calls)], ids=["plain", "with middleware"])
def running(
    request: pytest.FixtureRequest, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningApp]:
    monkeypatch.setattr(Tally, "before_deciding", staticmethod(lambda: None))
    store = sqlite_store(tmp_path / "log.db", f"sqlite:///{tmp_path}/log.db", clock=gate)
    app = App("tally", aggregates=[Tally], middleware=request.param)
    with store, app.open(store) as running:
        yield running


Ask: TypeAlias = Callable[..., Future[Reply]]


@pytest.fixture
def ask(running: RunningApp, threads: Threads) -> Ask:
    def ask(name: str, **options: Any) -> Future[Reply]:
        return running.submit(COUNT, StringValue(value=name), CallOptions(**options), threads)

    return ask


@contextmanager
def writer_held(running: RunningApp, gate: Gate) -> Iterator[None]:
    """Nothing is committed as long as the block lasts."""
    gate.shut()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(running.store.append, "Held-1", [], expected_version=ANY)
        assert gate.arrived.wait(20)
        try:
            yield
        finally:
            gate.opened.set()
        held.result(20)


@pytest.mark.promise("replies-follow-the-commit")
def test_an_answer_comes_after_the_commit_and_says_what_handle_would(
    running: RunningApp, gate: Gate, ask: Ask, threads: Threads
) -> None:
    with writer_held(running, gate):
        many = [ask(f"t{number}") for number in range(20)]
        assert not any(asked.done() for asked in many)
        assert running.store.count_events() == 0

    assert [said(asked) for asked in many] == [f"t{number} 1" for number in range(20)]
    positions = [asked.result().global_position for asked in many]
    assert sorted(positions) == list(range(1, 21))
    assert threads.asked == 0


@pytest.mark.promise("replies-follow-the-commit")
def test_the_next_command_to_a_stream_is_decided_on_what_the_last_one_did(
    running: RunningApp, gate: Gate, ask: Ask
) -> None:
    with ThreadPoolExecutor(2) as pool, writer_held(running, gate):
        first = ask("t")
        others = [pool.submit(ask, "t") for _ in range(2)]
        held: dict[Any, Any] = running._dispatcher._locks._held
        while held["", "Tally-t"][1] < 3:
            threading.Event().wait(0.001)
        assert not any(other.done() for other in others)

    assert said(first) == "t 1"
    assert sorted(said(other.result(20)) for other in others) == ["t 2", "t 3"]
    assert running._dispatcher._locks._held == {}


def test_a_command_that_another_process_forestalls_is_decided_again(
    running: RunningApp, ask: Ask, threads: Threads
) -> None:
    def forestall() -> None:
        Tally.before_deciding = staticmethod(lambda: None)
        running.store.append("Tally-t", [NewEvent(StringValue(value="t"))], expected_version=ANY)

    Tally.before_deciding = staticmethod(forestall)
    asked = ask("t")

    assert said(asked) == "t 2"
    assert threads.asked == 1
    assert running.store.stream_version("Tally-t") == 2


def test_what_goes_wrong_after_the_commit_costs_neither_the_answer_nor_a_second_event(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise LookupError("no snapshot today")

    monkeypatch.setattr(Repository, "appended", fail)
    reply = ask("t").result(20)

    assert reply.already_processed
    assert running.store.stream_version("Tally-t") == 1


def test_a_refusal_is_raised_and_the_stream_is_free_again(running: RunningApp, ask: Ask) -> None:
    for _ in range(3):
        ask("t").result(20)

    with pytest.raises(CommandRejected, match="counts to three"):
        ask("t", command_id="fourth").result(20)
    with pytest.raises(VersionConflict):
        ask("t", expected_version=2).result(20)
    assert running._dispatcher._locks._held == {}
    assert running.store.stream_version("Tally-t") == 3


def test_a_handler_that_would_end_its_thread_keeps_no_stream(running: RunningApp, ask: Ask) -> None:
    def leave() -> None:
        raise SystemExit

    Tally.before_deciding = staticmethod(leave)
    with pytest.raises(RuntimeError, match="count raised SystemExit"):
        ask("t").result(20)
    Tally.before_deciding = staticmethod(lambda: None)

    assert said(ask("t")) == "t 1"


def test_a_command_sent_again_is_answered_with_its_first_reply(
    running: RunningApp, ask: Ask
) -> None:
    firsts = [ask("t", command_id=f"c{number}").result(20) for number in range(3)]

    for number, first in enumerate(firsts):
        again = ask("t", command_id=f"c{number}").result(20)
        assert again.already_processed
        assert (again.message, again.global_position) == (first.message, first.global_position)
    with pytest.raises(CommandIdReused):
        ask("other", command_id="c1").result(20)
    assert running.store.count_events() == 3


def test_middleware_goes_on_in_its_context_when_the_reply_comes_later(
    gate: Gate, tmp_path: Path, threads: Threads
) -> None:
    span = ContextVar("span", default="none")
    seen: list[tuple[str, str, int]] = []

    def traced(call: Call) -> Passage:
        token = span.set("mine")
        try:
            reply = yield call
        finally:
            span.reset(token)
        thread = threading.current_thread().name
        seen.append((thread, span.get(), reply.global_position))

    store = sqlite_store(tmp_path / "log.db", f"sqlite:///{tmp_path}/log.db", clock=gate)
    app = App("tally", aggregates=[Tally], middleware=[traced])
    with store, app.open(store) as running:
        with writer_held(running, gate):
            answer = running.submit(COUNT, StringValue(value="t"), CallOptions(), threads)
            assert seen == []

        assert said(answer) == "t 1"
    assert seen == [("eskit-writer", "none", 1)]
