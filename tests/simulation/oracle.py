"""What must hold: kept account of by itself, from what was promised and what was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eskit import RecordedEvent
from eskit.projections import bookkeeping
from eskit.projections.differences import ProjectionDifference
from eskit.projections.status import ProjectionStatus
from tests.simulation.bank import PROJECTIONS, STORED, is_told_of, next_digest, worth
from tests.simulation.memory import Memory
from tests.simulation.rows import RowsInFile
from tests.simulation.wrong import Wrong


@dataclass(slots=True)
class Passage:
    """Which events the rows of a projection are of: `base`, and those after `start`.

    But for those in `without`. `ordered` is False once events were handled after later ones. Those
    in `unsure` were erased while somebody was at work, who may have read them before.
    """

    base: list[int] = field(default_factory=list)
    start: int = 0
    without: set[int] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    ordered: bool = True


@dataclass(slots=True)
class Account:
    """What is known of one projection: what became of its rows, and what was decided.

    `seen` are the events in its rows at the last look, and `ever` at any. The effects of those in
    `owed` are to be called: they were not handled by a rebuild, which calls none.
    """

    passage: Passage = field(default_factory=Passage)
    skips: set[int] = field(default_factory=set)
    paused: bool = False
    paused_at: int = 0
    decisions: int = 0
    seen: set[int] = field(default_factory=set)
    ever: set[int] = field(default_factory=set)
    owed: set[int] = field(default_factory=set)


class Oracle:
    """Looks at the log and the rows by ways of its own, and at what eskit says of them."""

    def __init__(
        self,
        store: Any,
        models: Any,
        rows: RowsInFile | Memory,
        has_grown: Callable[[int], bool] = lambda _length: True,
    ) -> None:
        """`has_grown` says whether a look at the log is worth it, which has so many events."""
        self.store = store
        self._models = models
        self._rows = rows
        self._accounts = {name: Account() for name in PROJECTIONS}
        self._types = STORED
        self._erased: set[int] = set()
        self._called: Counter[tuple[str, int]] = Counter()
        self._events: list[RecordedEvent] = []
        self._places: list[tuple[int, str]] = []
        self._has_grown = has_grown
        self.lies: list[str] = []
        self._observed: object = None
        self._checked: object = None

    def close(self) -> None:
        """Let go of everything."""
        self._rows.close()
        self._models.close()
        self.store.close()

    def position(self, name: str) -> int:
        """Where the checkpoint of a projection is."""
        state = bookkeeping.find_state(self._models, name)
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
        if self._has_grown(len(self._events)):
            self._events += self.store.read_all(after=len(self._events))
        return self._events

    def places(self) -> list[tuple[int, str]]:
        """Their positions and ids."""
        for event in self.log()[len(self._places) :]:
            self._places.append((event.global_position, event.event_id))
        return self._places

    # What is decided: read in the audit record, right after it was written.

    def exchanged(self, name: str) -> None:
        """The rows of a projection were made anew."""
        account = self._accounts[name]
        account.passage = Passage(without=account.skips | self._erased)
        account.paused_at = self.position(name)
        account.seen = {position for position, _ in self._rows.rows(name)}
        account.ever |= account.seen

    def erased(self, stream: str, *, during: bool) -> None:
        """A stream was erased; `during` says whether somebody else was at work."""
        new = {
            event.global_position
            for event in self.store.read_stream(stream)
            if event.erased and event.global_position not in self._erased
        }
        self._erased |= new
        for name, account in self._accounts.items():
            passage = account.passage
            handled = [position for position, _ in self._rows.rows(name)]
            passage.without |= new.difference(handled[len(passage.base) :])
            if during:
                passage.unsure |= new

    def is_erased(self, event: RecordedEvent) -> bool:
        """Whether nothing is left of an event but its place."""
        return event.global_position in self._erased

    def balance(self, stream: str, position: int) -> int | None:
        """What an account had right after an event; None where that was erased."""
        if position in self._erased:
            return None
        return sum(
            worth(event.event_type, event.message)
            for event in self.log()[:position]
            if event.stream == stream and event.global_position not in self._erased
        )

    def balance_at(self, stream: str, version: int) -> int | None:
        """What an account had right after its event of that version."""
        events = [event for event in self.log() if event.stream == stream]
        return self.balance(stream, events[version - 1].global_position)

    def told(self, name: str, position: int, *, well: bool) -> None:
        """An effect is called, of an event that was passed; whether that went well."""
        self._called[name, position] += well
        account = self._accounts[name]
        if position not in account.ever:
            account.ever |= {at for at, _ in self._rows.rows(name)}
        if position not in account.ever:
            self.lies.append(f"{name} told of {position}, which it has not handled")

    def observe(self) -> None:
        """Take note of every decision since the last look."""
        version = self._rows.version()
        if version == self._observed:
            return
        self._observed = version
        for name, account in self._accounts.items():
            decisions = bookkeeping.list_decisions(self._models, name)
            for decision in decisions[account.decisions :]:
                self._note(name, account, decision.action, decision.detail)
            account.decisions = len(decisions)

    def _note(self, name: str, account: Account, action: str, detail: str) -> None:
        passage = account.passage
        handled = [position for position, _ in self._rows.rows(name)]
        if action in {"pause", "resume"}:
            account.paused = action == "pause"
            account.paused_at = self.position(name)
        elif action == "set checkpoint":
            account.paused_at = self.position(name)
            account.passage = Passage(
                base=handled,
                start=self.position(name),
                without=account.skips | self._erased,
                unsure=passage.unsure,
                ordered=False,
            )
        elif action in {"skip", "retry"}:
            position = int(detail.partition(" ")[0].replace(",", ""))
            if action == "skip":
                account.skips.add(position)
                if position not in handled[len(passage.base) :]:
                    passage.without.add(position)
            else:
                passage.ordered = False
                if position <= passage.start and position not in self._erased:
                    passage.base.append(position)

    # What holds at every moment.

    def check_projections(self) -> None:
        """The rows are a fold of exactly the events that were passed and not set aside."""
        if self.lies:
            raise Wrong(self.lies[0])
        events = self.log()
        state = self._rows.version(), len(events)
        if state == self._checked:
            return
        for name, account in self._accounts.items():
            self._check_rows(name, account.passage, events)
        self._checked = state

    def _check_rows(self, name: str, passage: Passage, events: Sequence[RecordedEvent]) -> None:
        position = self.position(name)
        account = self._accounts[name]
        if account.paused and position != account.paused_at:
            raise Wrong(f"{name} went from {account.paused_at} to {position} while it was paused")
        letters = bookkeeping.find_dead_letters(self._models, name)
        aside = {letter.position for letter in letters}
        expected = passage.base + [
            event.global_position
            for event in events[passage.start : position]
            if event.event_type in self._types[name]
            and event.global_position not in passage.without
            and event.global_position not in aside
        ]
        rows = self._rows.rows(name)
        handled = [at for at, _ in rows]
        self._note_passed(name, set(handled))
        expected = [at for at in expected if at not in passage.unsure]
        handled = [at for at in handled if at not in passage.unsure]
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

    def _note_passed(self, name: str, handled: set[int]) -> None:
        account = self._accounts[name]
        account.owed |= {at for at in handled - account.seen if is_told_of(name, at)}
        account.seen = handled
        account.ever |= handled

    def check_told(self) -> None:
        """Of every event that was passed, at least once."""
        for name, account in self._accounts.items():
            missing = {at for at in account.owed if not self._called[name, at]}
            if missing:
                raise Wrong(f"{name} has never told of {sorted(missing)}")

    def _check_totals(
        self, name: str, rows: Sequence[tuple[int, str]], events: Sequence[RecordedEvent]
    ) -> None:
        totals: dict[str, tuple[int, int, int]] = {}
        for position, stream in rows:
            event = events[position - 1]
            amount = worth(event.event_type, event.message)
            count, total, digest = totals.get(stream, (0, 0, 0))
            totals[stream] = count + 1, total + amount, next_digest(digest, position, amount)
            if event.stream != stream:
                raise Wrong(f"{name} handled {position} of {event.stream} as of {stream}")
        found = self._rows.totals(name)
        if found != totals:
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
        letters = bookkeeping.find_dead_letters(self._models, name)
        said = (status.position, status.head, status.lag, status.set_aside, status.skipped)
        true = (position, len(events), len(wanted), len(letters), len(account.skips))
        if said != true:
            raise Wrong(f"{name}: status says {said}, true is {true}")
        if account.paused != bool(status.pause):
            raise Wrong(f"{name}: status says paused {status.pause!r}, it is {account.paused}")
        stopped = [failure for failure in status.failures if failure.phase != "rebuild"]
        failed = status.state == "failed"
        untold = any(effect.error for effect in bookkeeping.find_effects(self._models, name))
        if failed != bool(stopped or letters or untold) and not (failed and status.failures):
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
        # A rebuild leaves them out.
        handled_before = (account.skips | self._erased) - account.passage.without
        handled_before |= account.passage.unsure
        if account.passage.ordered and not handled_before and not found.equal:
            raise Wrong(f"{found.name} is said to differ: {found.tables}")

    # What holds in the end.

    def has_failures(self, name: str) -> bool:
        """Whether a projection or its rebuild stands before an event."""
        return bool(bookkeeping.find_failures(self._models, name))

    def check_settled(self, status: ProjectionStatus) -> None:
        """All that was ever to be handled is handled, and said to be."""
        if status.lag or status.position != status.head or status.set_aside:
            raise Wrong(f"{status.name} does not come to the end: {status}")
        if status.state != "idle" or status.error or status.failures:
            raise Wrong(f"{status.name} is {status.state} in the end: {status.error}")
