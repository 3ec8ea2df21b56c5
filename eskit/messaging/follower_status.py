"""One follower at a glance, wherever it keeps its progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from eskit.messaging.subscription import DeadLetter, SubscriptionState
from eskit.processes.holding import Holder
from eskit.slow import SLOW_AFTER
from eskit.text.quantities import count

FollowerState: TypeAlias = Literal["idle", "running", "paused", "failed"]
FollowerKind: TypeAlias = Literal["reaction", "subscription"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An event in hand: being handled since `since`, or failed and tried again later."""

    position: int
    attempts: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerStatus:
    """One follower at a glance.

    `position` is up to where every event is handled, `lag` how many it handles lie behind that,
    `oldest_seconds` the age of the oldest of them. `head` is where the log ends, or the stream in
    NATS that it follows. `in_flight` are the events being handled now,
    `waiting` those that failed and are tried again later. `error` is empty while nothing is wrong.
    `trouble` is what was raised last. `set_aside` counts the dead letters, `skipped` the events
    that an operator has skipped. `needed` counts the commands that are kept beyond
    their time to live, because it would send them again. `holder` is the process that runs it.
    """

    name: str
    state: FollowerState
    position: int | None
    head: int
    lag: int
    error: str
    trouble: str
    updated_at: datetime | None
    oldest_seconds: float
    in_flight: Sequence[Attempt]
    waiting: Sequence[Attempt]
    set_aside: int
    skipped: int
    pause: str
    needed: int
    holder: Holder | None
    kind: FollowerKind = "reaction"
    kept_in: Literal["store", "nats"] = "store"

    @property
    def abandoned(self) -> bool:
        """Whether events wait for it and no process runs it."""
        return self.state == "idle" and self.lag > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What it means to let a follower resume after another position.

    `before` is up to where it has handled every event, None if it never ran or that is not known.
    `again` events are handled once more, `skipped` ones never. `forgotten` of the commands that it
    sent for those `again` are not remembered any more, so that they would be carried out twice.
    """

    name: str
    before: int | None
    after: int
    again: int
    skipped: int
    forgotten: int = 0
    kind: FollowerKind = "reaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What lies behind a follower: the head of its log, and the events that it is to handle.

    `oldest` is when the first of those was recorded.
    """

    head: int
    lag: int
    oldest: datetime | None


def make_status(
    name: str,
    progress: SubscriptionState,
    behind: Measured,
    letters: Sequence[DeadLetter],
    *,
    problem: str,
    pause: str | None,
    alive: bool,
    updated_at: datetime | None,
    now: datetime,
    needed: int = 0,
    kind: FollowerKind = "reaction",
    kept_in: Literal["store", "nats"] = "store",
) -> FollowerStatus:
    """The status of what was found: `alive` if a process runs it, `problem` is what stops it."""
    attempts = _attempts(progress, alive=alive)
    wrong = problem or _problem(progress, attempts, letters, now)
    state: FollowerState = "idle"
    if wrong:
        state = "failed"
    elif pause is not None:
        state = "paused"
    elif alive:
        state = "running"
    trouble = progress.trouble
    oldest = behind.oldest
    return FollowerStatus(
        name=name,
        state=state,
        position=progress.low if progress.position is not None else None,
        head=behind.head,
        lag=behind.lag,
        error=wrong,
        trouble=f"{trouble.position:,}: {trouble.error}" if trouble is not None else "",
        updated_at=updated_at,
        oldest_seconds=max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0,
        in_flight=[attempt for attempt in attempts if attempt.since is not None],
        waiting=[attempt for attempt in attempts if attempt.since is None],
        set_aside=len(_waiting(letters)),
        skipped=sum(letter.skipped for letter in letters),
        pause=pause or "",
        needed=needed,
        holder=progress.holder if alive else None,
        kind=kind,
        kept_in=kept_in,
    )


def find_problem(progress: SubscriptionState, letters: Sequence[DeadLetter], now: datetime) -> str:
    """What is not well with a follower that runs; empty for nothing."""
    return _problem(progress, _attempts(progress, alive=True), letters, now)


def _problem(
    progress: SubscriptionState,
    attempts: Sequence[Attempt],
    letters: Sequence[DeadLetter],
    now: datetime,
) -> str:
    return _hung(attempts, now) or _set_aside(letters) or _trying_again(attempts, progress)


def _attempts(progress: SubscriptionState, *, alive: bool) -> list[Attempt]:
    running = progress.running if alive else {}
    return [
        Attempt(position=at, attempts=tried, since=running.get(at))
        for at, tried in sorted(progress.unhandled.items())
        if tried or at in running
    ]


def _hung(attempts: Iterable[Attempt], now: datetime) -> str:
    for attempt in attempts:
        if attempt.since is not None:
            seconds = (now - attempt.since).total_seconds()
            if seconds > SLOW_AFTER:
                return f"has been handling {attempt.position:,} for {seconds:,.0f} s"
    return ""


def _trying_again(attempts: Iterable[Attempt], progress: SubscriptionState) -> str:
    failed = [attempt.position for attempt in attempts if attempt.attempts]
    if not failed:
        return ""
    trouble = progress.trouble
    if trouble is not None and trouble.position in failed:
        return f"trying again to handle {trouble.position:,}: {trouble.error}"
    return f"trying again to handle {failed[0]:,}"


def _set_aside(letters: Sequence[DeadLetter]) -> str:
    waiting = _waiting(letters)
    if not waiting:
        return ""
    first = waiting[0].event.global_position
    return f"{count(len(waiting), 'dead letter')}, the first at {first:,}"


def _waiting(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    return [letter for letter in letters if letter.decision is None]
