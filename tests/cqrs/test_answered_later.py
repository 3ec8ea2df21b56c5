"""Commands that no thread waits for: answered as `handle` answers them, after the commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.app import App, RunningApp
from eskit.cqrs.middleware import Call, Proceed
from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.events import NewEvent
from eskit.domain.services import Method
from eskit.domain.streams import ANY
from eskit.errors import CommandIdReused, CommandRejected, VersionConflict
from eskit.store.sqlite.store import SqliteStore
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


class Asked:
    """A request under way."""

    def __init__(self) -> None:
        self.future = Future[Reply]()
        self.ran = 0

    def answer(self, reply: Reply) -> None:
        self.future.set_result(reply)

    def run(self, function: Callable[[], Reply]) -> None:
        self.ran += 1
        threading.Thread(target=self._find, args=(function,)).start()

    def _find(self, function: Callable[[], Reply]) -> None:
        try:
            self.answer(function())
        except Exception as error:  # noqa: BLE001 - handed on
            self.future.set_exception(error)

    @property
    def said(self) -> str:
        message = self.future.result(20).message
        assert isinstance(message, StringValue)
        return message.value


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def running(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApp]:
    monkeypatch.setattr(Tally, "before_deciding", staticmethod(lambda: None))
    store = SqliteStore(tmp_path / "log.db", f"sqlite:///{tmp_path}/log.db", clock=gate)
    with store, App("tally", aggregates=[Tally]).open(store) as running:
        yield running


def ask(running: RunningApp, name: str, **options: Any) -> Asked:
    asked = Asked()
    running.handle_then(COUNT, StringValue(value=name), CallOptions(**options), asked)
    return asked


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


def test_an_answer_comes_after_the_commit_and_says_what_handle_would(
    running: RunningApp, gate: Gate
) -> None:
    with writer_held(running, gate):
        many = [ask(running, f"t{number}") for number in range(20)]
        assert not any(asked.future.done() for asked in many)
        assert running.store.count_events() == 0

    assert [asked.said for asked in many] == [f"t{number} 1" for number in range(20)]
    positions = [asked.future.result().global_position for asked in many]
    assert sorted(positions) == list(range(1, 21))
    assert [asked.ran for asked in many] == [0] * 20


@pytest.mark.promise("replies-follow-the-commit")
def test_the_next_command_to_a_stream_is_decided_on_what_the_last_one_did(
    running: RunningApp, gate: Gate
) -> None:
    with ThreadPoolExecutor(2) as pool, writer_held(running, gate):
        first = ask(running, "t")
        others = [pool.submit(ask, running, "t") for _ in range(2)]
        held: dict[Any, Any] = running._dispatcher._locks._held
        while held["", "Tally-t"][1] < 3:
            threading.Event().wait(0.001)
        assert not any(other.done() for other in others)

    assert first.said == "t 1"
    assert sorted(other.result(20).said for other in others) == ["t 2", "t 3"]
    assert running._dispatcher._locks._held == {}


def test_a_command_that_another_process_forestalls_is_decided_again(running: RunningApp) -> None:
    def forestall() -> None:
        Tally.before_deciding = staticmethod(lambda: None)
        running.store.append("Tally-t", [NewEvent(StringValue(value="t"))], expected_version=ANY)

    Tally.before_deciding = staticmethod(forestall)
    asked = ask(running, "t")

    assert asked.said == "t 2"
    assert asked.ran == 1
    assert running.store.stream_version("Tally-t") == 2


def test_what_goes_wrong_after_the_commit_costs_neither_the_answer_nor_a_second_event(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = running._dispatcher._repositories[Tally]

    def fail(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise LookupError("no snapshot today")

    monkeypatch.setattr(repository, "appended", fail)
    reply = ask(running, "t").future.result(20)

    assert reply.already_processed
    assert running.store.stream_version("Tally-t") == 1


def test_a_refusal_is_raised_and_the_stream_is_free_again(running: RunningApp) -> None:
    for _ in range(3):
        ask(running, "t").future.result(20)

    with pytest.raises(CommandRejected, match="counts to three"):
        ask(running, "t", command_id="fourth")
    with pytest.raises(VersionConflict):
        ask(running, "t", expected_version=2)
    assert running._dispatcher._locks._held == {}
    assert running.store.stream_version("Tally-t") == 3


def test_a_handler_that_would_end_its_thread_keeps_no_stream(running: RunningApp) -> None:
    def leave() -> None:
        raise SystemExit

    Tally.before_deciding = staticmethod(leave)
    with pytest.raises(RuntimeError, match="count raised SystemExit"):
        ask(running, "t")
    Tally.before_deciding = staticmethod(lambda: None)

    assert ask(running, "t").said == "t 1"


def test_a_command_sent_again_is_answered_with_its_first_reply(running: RunningApp) -> None:
    firsts = [ask(running, "t", command_id=f"c{number}").future.result(20) for number in range(3)]

    for number, first in enumerate(firsts):
        again = ask(running, "t", command_id=f"c{number}").future.result(20)
        assert again.already_processed
        assert (again.message, again.global_position) == (first.message, first.global_position)
    with pytest.raises(CommandIdReused):
        ask(running, "other", command_id="c1").future.result(20)
    assert running.store.count_events() == 3


def test_middleware_sees_the_reply(tmp_path: Path) -> None:
    seen: list[Reply] = []

    def look(call: Call, proceed: Proceed) -> Reply:
        seen.append(proceed(call))
        return seen[-1]

    with App("tally", aggregates=[Tally], middleware=[look]).open(
        f"sqlite:///{tmp_path}/log.db"
    ) as running:
        assert ask(running, "t").said == "t 1"
        assert len(seen) == 1
