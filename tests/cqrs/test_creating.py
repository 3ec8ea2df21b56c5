"""Commands that name no aggregate and so create one: decided without a look, and still right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.app import App, RunningApp
from eskit.cqrs.options import CallOptions
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.events import NewEvent
from eskit.domain.ids import derived_id
from eskit.domain.services import Method
from eskit.errors import CommandRejected, VersionConflict
from eskit.operations.pruning import prune_commands

WRITE = Method(
    service="notes.v1.NoteCommandService",
    name="Write",
    python_name="write",
    kind="command",
    request=StringValue,
    response=StringValue,
)
FIRST = f"Note-{derived_id('first')}"


class Note(Aggregate[StringValue, Any]):
    """Written once, and never without a text."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Note",
        state=StringValue,
        id_field="note_id",
        commands=(WRITE,),
        events=(EventMethod(event=StringValue, python_name="on_written"),),
    )

    def write(self, command: StringValue) -> StringValue:
        if self.version:
            raise CommandRejected("ALREADY_WRITTEN", f"It says {self.state.value}")
        if not command.value:
            raise CommandRejected("EMPTY", "There is nothing to write")
        self.emit(StringValue(value=command.value))
        return StringValue(value=self.id)

    def on_written(self, event: StringValue) -> None:
        self.state.value = event.value


@pytest.fixture
def running() -> Iterator[RunningApp]:
    with App("notes", aggregates=[Note]).open("memory://") as running:
        yield running


def write(running: RunningApp, text: str = "hello", **more: Any) -> Any:
    return running.execute(StringValue(value=text), **more)


def rejection(running: RunningApp, text: str) -> str:
    with pytest.raises(CommandRejected) as rejected:
        write(running, text, command_id="first")
    return rejected.value.rejection


def test_a_command_that_creates_reads_nothing(
    running: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    monkeypatch.setattr(running.store, "read_rows", lambda stream, **_: reads.append(stream))

    written = write(running)

    assert reads == []
    assert running.store.stream_version(f"Note-{written.value}") == 1


@pytest.mark.promise("commands-are-done-once")
def test_sent_again_it_is_answered_as_the_first_time(running: RunningApp) -> None:
    first = write(running, command_id="first")

    assert write(running, command_id="first") == first
    assert running.store.stream_version(FIRST) == 1


@pytest.mark.promise("commands-are-done-once")
def test_sent_again_when_its_id_is_forgotten_it_meets_what_it_made() -> None:
    with App("notes", aggregates=[Note]).open("sqlite:///notes.db?command_ttl_days=0") as running:
        write(running, command_id="first")
        prune_commands(running.store)

        assert rejection(running, "hello") == "ALREADY_WRITTEN"
        assert running.store.stream_version(FIRST) == 1


def test_a_rejection_is_always_by_what_is_there(running: RunningApp) -> None:
    assert rejection(running, "") == "EMPTY"

    running.store.append(FIRST, [NewEvent(StringValue(value="there"))], expected_version=0)

    assert rejection(running, "") == "ALREADY_WRITTEN"


@pytest.mark.parametrize("expected", [1, 0])
def test_an_expected_version_is_compared_with_what_is_there(
    running: RunningApp, expected: int
) -> None:
    stored = 1 - expected
    for _ in range(stored):
        running.store.append(FIRST, [NewEvent(StringValue(value="there"))], expected_version=0)

    with pytest.raises(VersionConflict) as conflict:
        write(running, options=CallOptions(command_id="first", expected_version=expected))

    assert (conflict.value.expected, conflict.value.actual) == (expected, stored)
    assert running.store.stream_version(FIRST) == stored
