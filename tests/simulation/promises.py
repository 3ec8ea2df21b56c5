"""What was promised of the log: what was acknowledged is there once, what was refused is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from eskit import NewEvent, RecordedEvent
from eskit.domain.commands import AppendResult
from eskit.domain.messages import message_type
from eskit.errors import ClaimTaken, CommandIdReused, CommandRejected, VersionConflict
from tests.simulation.wrong import Wrong

_REFUSED = (CommandRejected, VersionConflict, CommandIdReused, ClaimTaken)


@dataclass(slots=True)
class Promise:
    """Something that was to be appended, and whether it was said to be."""

    what: str
    acknowledged: bool = False
    refused: bool = False
    position: int = 0
    ids: Sequence[str] = ()


class Promises:
    """Keeps account of every append and every command, and compares it with the log."""

    def __init__(self) -> None:
        self._appends: list[list[Promise]] = []
        self._again: dict[int, list[Promise]] = {}
        self._commands: dict[str, list[Promise]] = {}

    @contextmanager
    def appending(
        self, number: int, stream: str, events: Sequence[NewEvent], *, stale: bool
    ) -> Iterator[Callable[[AppendResult], None]]:
        """Events about to be appended, for the first time or again; call with the acknowledgement.

        Those with a number other than 0 are the same each time. `stale`: the version that is
        expected is not that of the stream.
        """
        promise = Promise(stream, ids=[event.event_id for event in events])
        sent = self._again.setdefault(number, []) if number else []
        if not sent:
            self._appends.append(sent)
        sent.append(promise)

        def appended(result: AppendResult) -> None:
            promise.acknowledged, promise.position = True, result.global_position
            if stale and not result.already_processed:
                raise Wrong(f"Appended to {stream}, which is at another version than expected")
            positions = {other.position for other in sent if other.acknowledged}
            if len(positions) > 1:
                raise Wrong(f"An append was acknowledged at different places: {positions}")

        try:
            yield appended
        except _REFUSED:
            promise.refused = True
            raise

    @contextmanager
    def commanding(self, command_id: str, command: Message) -> Iterator[Callable[[Any], None]]:
        """A command about to be sent; call with the reply."""
        text = f"{message_type(command)} {command.SerializeToString().hex()}"
        promise = Promise(text)
        sent = self._commands.setdefault(command_id, [])
        sent.append(promise)

        def answered(reply: Any) -> None:
            promise.acknowledged, promise.position = True, reply.global_position
            done = {(other.what, other.position) for other in sent if other.acknowledged}
            if len(done) > 1:
                raise Wrong(f"{command_id} was answered in different ways: {sorted(done)}")

        try:
            yield answered
        except CommandIdReused:
            if all(other.what == text for other in sent):
                raise Wrong(f"{command_id} was said to be that of another command") from None
            promise.refused = True
            raise
        except _REFUSED:
            promise.refused = True
            raise

    def check(self, events: Sequence[RecordedEvent]) -> None:
        """Compare with the whole log."""
        _check_order(events)
        by_id = {event.event_id: event for event in events}
        if len(by_id) != len(events):
            raise Wrong("An event is in the log twice")
        self._check_appends(by_id)
        self._check_commands(events)

    def _check_appends(self, by_id: dict[str, RecordedEvent]) -> None:
        unknown = {event.event_id for event in by_id.values() if not event.metadata.command_id}
        for sent in self._appends:
            ids = sent[0].ids
            unknown -= set(ids)
            there = [by_id[found] for found in ids if found in by_id]
            if len(there) not in {0, len(ids)}:
                raise Wrong(f"Only a part is there: {sent}")
            if there and all(promise.refused for promise in sent):
                raise Wrong(f"Refused, and there: {sent}")
            for promise in sent:
                _check_acknowledged(promise, there)
        if unknown:
            raise Wrong(f"Nobody has appended {sorted(unknown)}")

    def _check_commands(self, events: Sequence[RecordedEvent]) -> None:
        carried_out: dict[str, list[RecordedEvent]] = {}
        for event in events:
            metadata = event.metadata
            if metadata.command_id and metadata.causation_id == metadata.command_id:
                carried_out.setdefault(event.metadata.command_id, []).append(event)
        for command_id, sent in self._commands.items():
            there = carried_out.pop(command_id, [])
            if len(there) > 1:
                raise Wrong(f"{command_id} was carried out {len(there)} times")
            if there and all(promise.refused for promise in sent):
                raise Wrong(f"{command_id} was refused, and carried out")
            for promise in sent:
                _check_acknowledged(promise, there)
        if carried_out:
            raise Wrong(f"Nobody has sent {sorted(carried_out)}")


def _check_order(events: Sequence[RecordedEvent]) -> None:
    versions: dict[str, int] = {}
    for position, event in enumerate(events, start=1):
        if event.global_position != position:
            raise Wrong(f"The log has a gap before {event.global_position}")
        versions[event.stream] = versions.get(event.stream, 0) + 1
        if event.version != versions[event.stream]:
            raise Wrong(f"{event.stream} has a gap before {event.version}")


def _check_acknowledged(promise: Promise, there: Sequence[RecordedEvent]) -> None:
    """What was acknowledged is where it was said to be."""
    if promise.acknowledged and (not there or there[-1].global_position != promise.position):
        raise Wrong(f"Acknowledged at {promise.position}, and not there: {promise}")
