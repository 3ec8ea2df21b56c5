"""What must hold: kept account of by itself, from what was promised and what was decided."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from eskit import CommandRejected, NewEvent, RecordedEvent
from eskit.domain.commands import AppendResult
from eskit.domain.messages import message_type
from eskit.errors import ClaimTaken, CommandIdReused, VersionConflict
from eskit.projections.differences import ProjectionDifference
from eskit.projections.progress import RunReport
from eskit.projections.status import ProjectionStatus
from tests.simulation.bank import PROJECTIONS, SIGNS, WANTED, next_digest

_REFUSED = (CommandRejected, VersionConflict, CommandIdReused, ClaimTaken)


class Wrong(AssertionError):
    """eskit broke a promise."""


@dataclass(slots=True)
class Passage:
    """Which events the rows of a projection are of: `base`, and those after `start`.

    But for those in `without`. `ordered` is False once events were handled after later ones.
    """

    base: list[int] = field(default_factory=list)
    start: int = 0
    without: set[int] = field(default_factory=set)
    ordered: bool = True


@dataclass(slots=True)
class Account:
    """What is known of one projection: what became of its rows, and what was decided."""

    passage: Passage = field(default_factory=Passage)
    skips: set[int] = field(default_factory=set)
    paused: bool = False
    decisions: int = 0


@dataclass(slots=True)
class Promise:
    """Something that was to be appended, and whether it was said to be."""

    what: str
    acknowledged: bool = False
    refused: bool = False
    position: int = 0
    ids: Sequence[str] = ()


class Oracle:
    """Looks at the log and the rows by ways of its own, and at what eskit says of them."""

    def __init__(self, store: Any, models: Any) -> None:
        self._store = store
        self._models = models
        self._accounts = {name: Account() for name in PROJECTIONS}
        self._types = {
            name: {message_type(kind) for kind in kinds} for name, kinds in WANTED.items()
        }
        self._appends: list[Promise] = []
        self._commands: dict[str, list[Promise]] = {}
        self._events: list[RecordedEvent] = []
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of everything."""
        if self._connection is not None:
            self._connection.close()
        self._models.close()
        self._store.close()

    def position(self, name: str) -> int:
        """Where the checkpoint of a projection is."""
        standing = self._models.find_standing(name)
        return standing.mark.position if standing is not None else 0

    def log(self) -> list[RecordedEvent]:
        """All events, read anew from where the last look ended."""
        self._events += self._store.read_all(after=len(self._events))
        return self._events

    # What is promised.

    @contextmanager
    def appending(
        self, stream: str, events: Sequence[NewEvent]
    ) -> Iterator[Callable[[AppendResult], None]]:
        """Events about to be appended; call with the acknowledgement."""
        promise = Promise(stream, ids=[event.event_id for event in events])
        self._appends.append(promise)

        def appended(result: AppendResult) -> None:
            promise.acknowledged, promise.position = True, result.global_position

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

    # What is decided: read in the audit record, right after it was written.

    def exchanged(self, name: str) -> None:
        """The rows of a projection were made anew."""
        account = self._accounts[name]
        account.passage = Passage(without=set(account.skips))

    def observe(self) -> None:
        """Take note of every decision since the last look."""
        for name, account in self._accounts.items():
            decisions = self._models.list_decisions(name)
            for decision in decisions[account.decisions :]:
                self._note(name, account, decision.action, decision.detail)
            account.decisions = len(decisions)

    def _note(self, name: str, account: Account, action: str, detail: str) -> None:
        passage = account.passage
        handled = [position for position, _ in self._rows(name)]
        if action in {"pause", "resume"}:
            account.paused = action == "pause"
        elif action == "set checkpoint":
            account.passage = Passage(
                base=handled, start=self.position(name), without=set(account.skips), ordered=False
            )
        elif action in {"skip", "retry"}:
            position = int(detail.partition(" ")[0].replace(",", ""))
            if action == "skip":
                account.skips.add(position)
                if position not in handled:
                    passage.without.add(position)
            else:
                passage.ordered = False
                if position <= passage.start:
                    passage.base.append(position)

    # What holds at every moment.

    def check_projections(self) -> None:
        """The rows are a fold of exactly the events that were passed and not set aside."""
        events = self.log()
        for name, account in self._accounts.items():
            self._check_rows(name, account.passage, events)

    def _check_rows(self, name: str, passage: Passage, events: Sequence[RecordedEvent]) -> None:
        position = self.position(name)
        aside = {letter.position for letter in self._models.find_letters(name)}
        expected = passage.base + [
            event.global_position
            for event in events[passage.start : position]
            if event.event_type in self._types[name]
            and event.global_position not in passage.without
            and event.global_position not in aside
        ]
        rows = self._rows(name)
        handled = [at for at, _ in rows]
        if passage.ordered and handled != expected or Counter(handled) != Counter(expected):
            missing = sorted((Counter(expected) - Counter(handled)).elements())
            doubled = sorted((Counter(handled) - Counter(expected)).elements())
            raise Wrong(
                f"{name} at {position}: not handled {missing}, handled too often {doubled}, "
                f"set aside {sorted(aside)}, skipped {sorted(passage.without)}; "
                f"in the order {handled}"
            )
        self._check_totals(name, rows, events)

    def _check_totals(
        self, name: str, rows: Sequence[tuple[int, str]], events: Sequence[RecordedEvent]
    ) -> None:
        totals: dict[str, tuple[int, int, int]] = {}
        for position, stream in rows:
            event = events[position - 1]
            amount = SIGNS[event.event_type] * event.message.amount  # type: ignore[attr-defined]
            count, total, digest = totals.get(stream, (0, 0, 0))
            totals[stream] = count + 1, total + amount, next_digest(digest, position, amount)
            if event.stream != stream:
                raise Wrong(f"{name} handled {position} of {event.stream} as of {stream}")
        found = self._query(f"SELECT stream, events, total, digest FROM {name}_totals")
        if {row[0]: tuple(row[1:]) for row in found} != totals:
            raise Wrong(f"{name} has the totals {found}, its events give {totals}")

    def check_status(self, status: ProjectionStatus) -> None:
        """What is said of a projection that nobody is running now."""
        name, account = status.name, self._accounts[status.name]
        events = self.log()
        position = self.position(name)
        wanted = [
            event.global_position
            for event in events[position:]
            if event.event_type in self._types[name]
        ]
        letters = self._models.find_letters(name)
        said = (status.position, status.head, status.lag, status.set_aside, status.skipped)
        true = (position, len(events), len(wanted), len(letters), len(account.skips))
        if said != true:
            raise Wrong(f"{name}: status says {said}, true is {true}")
        if account.paused != bool(status.pause):
            raise Wrong(f"{name}: status says paused {status.pause!r}, it is {account.paused}")
        if (status.state == "failed") != bool(status.failures or letters):
            raise Wrong(f"{name} is {status.state} with {status.failures} and {letters}")
        for failure in status.failures:
            if failure.phase != "rebuild" and failure.position not in wanted[:1]:
                raise Wrong(f"{name} at {position} is said to stand before {failure.position}")

    def check_served(self, statuses: Sequence[ProjectionStatus], faults: set[str]) -> None:
        """Who was run long enough, and is not kept from it, has come to the end."""
        for status in statuses:
            kept = status.name in faults or self._accounts[status.name].paused
            if status.lag and not kept and not status.failures:
                raise Wrong(
                    f"{status.name} was run and nothing is wrong with it, but it stays at "
                    f"{status.position} of {status.head}: {status.state} {status.error}"
                )

    def check_diff(self, found: ProjectionDifference) -> None:
        """A comparison tells rows that are right from others."""
        account = self._accounts[found.name]
        if account.passage.ordered and not found.equal:
            raise Wrong(f"{found.name} is said to differ: {found.tables}")

    # What holds in the end.

    def has_failures(self, name: str) -> bool:
        """Whether a projection or its rebuild stands before an event."""
        return bool(self._models.find_failures(name))

    def check_settled(self, status: ProjectionStatus) -> None:
        """All that was ever to be handled is handled, and said to be."""
        if status.lag or status.position != status.head or status.set_aside:
            raise Wrong(f"{status.name} does not come to the end: {status}")
        if status.state != "idle" or status.error or status.failures:
            raise Wrong(f"{status.name} is {status.state} in the end: {status.error}")

    def check_log(self) -> None:
        """What was acknowledged is there once, what was refused is not, and nothing else is."""
        events = list(self._store.read_all())
        if [event.global_position for event in events] != list(range(1, len(events) + 1)):
            raise Wrong("The log has a gap")
        by_id = {event.event_id: event for event in events}
        if len(by_id) != len(events):
            raise Wrong("An event is in the log twice")
        versions: dict[str, int] = {}
        for event in events:
            versions[event.stream] = versions.get(event.stream, 0) + 1
            if event.version != versions[event.stream]:
                raise Wrong(f"{event.stream} has a gap before {event.version}")
        of_commands: dict[str, list[RecordedEvent]] = {}
        for event in events:
            if event.metadata.command_id:
                of_commands.setdefault(event.metadata.command_id, []).append(event)
        appended = {
            event.event_id for event in events if not event.metadata.command_id
        }
        for promise in self._appends:
            there = [by_id[event_id] for event_id in promise.ids if event_id in by_id]
            appended -= set(promise.ids)
            self._check_promise(promise, there, len(promise.ids))
        if appended:
            raise Wrong(f"Nobody has appended {sorted(appended)}")
        for command_id, sent in self._commands.items():
            there = of_commands.pop(command_id, [])
            if len(there) > 1:
                raise Wrong(f"{command_id} was carried out {len(there)} times")
            for promise in sent:
                if promise.acknowledged:
                    self._check_promise(promise, there, 1)
            if there and all(promise.refused for promise in sent):
                raise Wrong(f"{command_id} was refused, and carried out")
        if of_commands:
            raise Wrong(f"Nobody has sent {sorted(of_commands)}")

    def _check_promise(self, promise: Promise, there: Sequence[RecordedEvent], all_: int) -> None:
        if promise.acknowledged and (
            len(there) != all_ or there[-1].global_position != promise.position
        ):
            raise Wrong(f"Acknowledged at {promise.position}, and not there: {promise}")
        if promise.refused and there:
            raise Wrong(f"Refused, and there: {promise}")
        if len(there) not in {0, all_}:
            raise Wrong(f"Only a part is there: {promise}")

    # How rows are read.

    def _rows(self, name: str) -> list[tuple[int, str]]:
        return self._query(f"SELECT position, stream FROM {name}_handled ORDER BY id")

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        path = Path(self._models.path)
        if self._connection is None:
            if not path.exists():
                return []
            self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return self._connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
