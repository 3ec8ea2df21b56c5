"""What must hold: kept account of by itself, from what was promised and what was decided."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eskit import RecordedEvent
from eskit.domain.messages import message_type
from eskit.projections.differences import ProjectionDifference
from eskit.projections.status import ProjectionStatus
from tests.simulation.bank import PROJECTIONS, SIGNS, WANTED, next_digest
from tests.simulation.wrong import Wrong


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


class Oracle:
    """Looks at the log and the rows by ways of its own, and at what eskit says of them."""

    def __init__(self, store: Any, models: Any) -> None:
        self.store = store
        self._models = models
        self._accounts = {name: Account() for name in PROJECTIONS}
        self._types = {
            name: {message_type(kind) for kind in kinds} for name, kinds in WANTED.items()
        }
        self._events: list[RecordedEvent] = []
        self._connection: sqlite3.Connection | None = None
        self._observed: object = None
        self._checked: object = None

    def close(self) -> None:
        """Let go of everything."""
        if self._connection is not None:
            self._connection.close()
        self._models.close()
        self.store.close()

    def position(self, name: str) -> int:
        """Where the checkpoint of a projection is."""
        state = self._models.find_state(name)
        return state.checkpoint.position if state is not None else 0

    def is_paused(self, name: str) -> bool:
        """Whether somebody has paused a projection."""
        return self._accounts[name].paused

    def find_wanted(self, name: str, ahead: int) -> int:
        """The position of an event that a projection is to handle; it may be still to come."""
        events = self.log()
        wanted = [
            event.global_position
            for event in events[self.position(name) :]
            if event.event_type in self._types[name]
        ]
        return wanted[ahead] if ahead < len(wanted) else len(events) + 1 + ahead - len(wanted)

    def log(self) -> list[RecordedEvent]:
        """All events; those since the last look are read."""
        self._events += self.store.read_all(after=len(self._events))
        return self._events

    # What is decided: read in the audit record, right after it was written.

    def exchanged(self, name: str) -> None:
        """The rows of a projection were made anew."""
        account = self._accounts[name]
        account.passage = Passage(without=set(account.skips))

    def observe(self) -> None:
        """Take note of every decision since the last look."""
        version = self._version()
        if version == self._observed:
            return
        self._observed = version
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
                if position not in handled[len(passage.base) :]:
                    passage.without.add(position)
            else:
                passage.ordered = False
                if position <= passage.start:
                    passage.base.append(position)

    # What holds at every moment.

    def check_projections(self) -> None:
        """The rows are a fold of exactly the events that were passed and not set aside."""
        events = self.log()
        state = self._version(), len(events)
        if state == self._checked:
            return
        for name, account in self._accounts.items():
            self._check_rows(name, account.passage, events)
        self._checked = state

    def _check_rows(self, name: str, passage: Passage, events: Sequence[RecordedEvent]) -> None:
        position = self.position(name)
        letters = self._models.find_dead_letters(name)
        aside = {letter.position for letter in letters}
        expected = passage.base + [
            event.global_position
            for event in events[passage.start : position]
            if event.event_type in self._types[name]
            and event.global_position not in passage.without
            and event.global_position not in aside
        ]
        rows = self._rows(name)
        handled = [at for at, _ in rows]
        if (passage.ordered and handled != expected) or Counter(handled) != Counter(expected):
            missing = sorted((Counter(expected) - Counter(handled)).elements())
            doubled = sorted((Counter(handled) - Counter(expected)).elements())
            raise Wrong(
                f"{name} at {position}: not handled {missing}, handled too often {doubled}, "
                f"set aside {sorted(aside)}, skipped {sorted(passage.without)}; "
                f"in the order {handled}"
            )
        self._check_totals(name, rows, events)
        for letter in letters:
            overtaking = [
                at
                for at, stream in rows[len(passage.base) :]
                if letter.holds_stream and stream == letter.stream
                if at > max(letter.position, passage.start)
            ]
            if overtaking:
                raise Wrong(f"{name}: {overtaking} of {letter.stream} overtook {letter.position}")

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
        letters = self._models.find_dead_letters(name)
        said = (status.position, status.head, status.lag, status.set_aside, status.skipped)
        true = (position, len(events), len(wanted), len(letters), len(account.skips))
        if said != true:
            raise Wrong(f"{name}: status says {said}, true is {true}")
        if account.paused != bool(status.pause):
            raise Wrong(f"{name}: status says paused {status.pause!r}, it is {account.paused}")
        stopped = [failure for failure in status.failures if failure.phase != "rebuild"]
        failed = status.state == "failed"
        if failed != bool(stopped or letters) and not (failed and status.failures):
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
        handled_before = account.skips - account.passage.without  # a rebuild leaves them out
        if account.passage.ordered and not handled_before and not found.equal:
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

    # How rows are read.

    def _rows(self, name: str) -> list[tuple[int, str]]:
        return self._query(f"SELECT position, stream FROM {name}_handled ORDER BY id")

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        connection = self._connect()
        if connection is None:
            return []
        try:
            return connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise

    def _version(self) -> int:
        """Another one whenever anybody has written to the read model; 0 while there is none."""
        connection = self._connect()
        if connection is None:
            return 0
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _connect(self) -> sqlite3.Connection | None:
        path = self._models.path
        if self._connection is None and Path(path).exists():
            self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        return self._connection
