"""Followers that keep their place with the log: where they stand, pausing and resetting them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import CheckpointMismatch, InvalidArgument, NotFound, PlaceLost, RecordChanged
from eskit.messaging.bus import check_state, start_position
from eskit.messaging.subscriber import LEASE
from eskit.messaging.subscription import DeadLetter, Subscription, SubscriptionState
from eskit.messaging.subscriptions_store import (
    PAUSE,
    list_dead_letters,
    load_state,
    save_state,
)
from eskit.messaging.takeover import check_place
from eskit.processes.holding import Holder
from eskit.slow import SLOW_AFTER
from eskit.store.eventstore import EventStore
from eskit.store.records import FOLLOWER, Checkpoint, Record
from eskit.text.quantities import count

_ENDED_PAUSE = "ended pause"
FollowerState: TypeAlias = Literal["idle", "running", "paused", "failed"]


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
    `oldest_seconds` the age of the oldest of them. `in_flight` are the events being handled now,
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


def load_status(
    store: EventStore,
    subscription: Subscription,
    *,
    needed: Mapping[str, int] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> FollowerStatus:
    """Look a follower up; creates nothing and waits for nothing.

    `needed` is what `prune_commands` counts, which takes its time.
    """
    name = subscription.name
    now, head = clock.now, store.head_position()
    record = store.find_record(FOLLOWER, name)
    letters = list_dead_letters(store, name)
    waiting = [letter for letter in letters if letter.decision is None]
    pause = _pause_reason(store, name)
    problem, progress = "", SubscriptionState()
    try:
        progress, _ = load_state(store, name)
        check_state(store, name, progress)
        check_place(store, subscription)
    except (PlaceLost, CheckpointMismatch) as error:
        problem = error.message
    silent = now - record.updated_at if record is not None else timedelta.max
    alive = bool(progress.owner) and silent < timedelta(seconds=2 * LEASE)
    position = progress.low if progress.position is not None else None
    behind = position if position is not None else start_position(store, subscription.start)
    running = progress.running if alive else {}
    attempts = [
        Attempt(position=at, attempts=tried, since=running.get(at))
        for at, tried in sorted(progress.unhandled.items())
        if tried or at in running
    ]
    lag = _lag(store, subscription, progress, behind)
    wrong = (
        problem or _hung(attempts, now) or _set_aside(waiting) or _trying_again(attempts, progress)
    )
    state: FollowerState = "idle"
    if wrong:
        state = "failed"
    elif pause is not None:
        state = "paused"
    elif alive:
        state = "running"
    return FollowerStatus(
        name=name,
        state=state,
        position=position,
        head=head,
        lag=lag,
        error=wrong,
        trouble=_trouble(progress),
        updated_at=record.updated_at if record is not None else None,
        oldest_seconds=_age_of_next(store, subscription, behind, now) if lag else 0.0,
        in_flight=[attempt for attempt in attempts if attempt.since is not None],
        waiting=[attempt for attempt in attempts if attempt.since is None],
        set_aside=len(waiting),
        skipped=sum(letter.skipped for letter in letters),
        pause=pause or "",
        needed=(needed or {}).get(name, 0),
        holder=progress.holder if alive else None,
    )


def list_places(store: EventStore) -> Iterator[Checkpoint]:
    """Up to where each follower has handled every event; without those that cannot be read."""
    for record in store.list_records(FOLLOWER):
        with contextlib.suppress(PlaceLost):
            progress, _ = load_state(store, record.key)
            at = progress.position == progress.low
            yield Checkpoint(
                name=record.key,
                store_id=_store_of(store, record.key, progress),
                position=progress.low,
                event_id=progress.event_id if at else "",
                updated_at=record.updated_at,
            )


def _store_of(store: EventStore, name: str, progress: SubscriptionState) -> str:
    """Of which store's log the place is; of this one's also where that is a copy."""
    try:
        check_state(store, name, progress)
    except CheckpointMismatch:
        return progress.store_id
    return store.store_id


def pause(store: EventStore, name: str, *, reason: str, by: str, clock: Clock) -> None:
    """Keep a follower where it is until it is resumed; InvalidArgument if it is paused."""
    if not reason.strip():
        raise InvalidArgument("A pause needs a reason", hint="Say why: --reason '…'")
    value = json.dumps({"reason": reason, "by": by, "at": clock.now.isoformat()})
    try:
        store.save_record(PAUSE, name, value, expected_revision=0)
    except RecordChanged as error:
        raise InvalidArgument(
            f"{name} is paused already: {_pause_reason(store, name)}",
            hint=f"Resume it: eskit reaction resume {name}",
        ) from error


def resume(store: EventStore, name: str, *, reason: str, by: str, clock: Clock) -> None:
    """Resume a paused follower; NotFound if it is not paused.

    The pause stays on record, see `list_pauses`. Raises InvalidArgument without a reason.
    """
    if not reason.strip():
        raise InvalidArgument("To resume needs a reason", hint="Say why: --reason '…'")
    record = store.find_record(PAUSE, name)
    if record is None:
        raise NotFound(f"{name} is not paused", hint=f"See: eskit reaction status {name}")
    pause = json.loads(record.value)
    ended = {"reason": reason, "by": by, "at": clock.now.isoformat()}
    audit = json.dumps({"name": name, **pause, "resumed": ended})
    with contextlib.suppress(RecordChanged):  # an attempt that ended here kept it already
        store.save_record(_ENDED_PAUSE, f"{name} {pause['at']}", audit, expected_revision=0)
    store.delete_record(PAUSE, name, expected_revision=record.revision)


def list_pauses(store: EventStore, name: str) -> list[Mapping[str, Any]]:
    """The audit records of a follower's pauses that have ended, oldest first.

    Each has `reason`, `by` and `at` of the pause, and the same of its end under `resumed`.
    """
    kept = [json.loads(record.value) for record in store.list_records(_ENDED_PAUSE)]
    return [pause for pause in kept if pause["name"] == name]


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
    forgotten: int


def plan_reset(store: EventStore, subscription: Subscription, after: int) -> Reset:
    """What a reset would do; changes nothing. InvalidArgument for a place that is not there."""
    head = _check_place(store, after)
    name = subscription.name
    try:
        progress, _ = load_state(store, name)
    except PlaceLost:
        progress = SubscriptionState()
    known = progress.position is not None
    # Without a position any event may have been handled.
    seen = progress.position if progress.position is not None else head
    low = progress.low if known else after
    unhandled = progress.unhandled if known else {}
    return Reset(
        name=name,
        before=low if known else None,
        after=after,
        again=_count(store, subscription, after, seen) - sum(at > after for at in unhandled),
        skipped=_count(store, subscription, low, after) if known else 0,
        forgotten=count_forgotten(store, name, after, seen),
    )


def _check_place(store: EventStore, after: int) -> int:
    """The head of the log; InvalidArgument if it ends before a position."""
    head = store.head_position()
    if not 0 <= after <= head:
        raise InvalidArgument(
            f"The log ends at {head:,}, so no reaction can resume after {after:,}",
            hint="Choose a position of the log, or: --after now",
        )
    return head


def check_forgotten(planned: Reset) -> None:
    """Raise InvalidArgument if a reset would have commands carried out twice."""
    if planned.forgotten:
        noun = "command" if planned.forgotten == 1 else "commands"
        raise InvalidArgument(
            f"{planned.forgotten:,} {noun} of {planned.name} would be carried out twice: "
            "the store has forgotten their ids",
            hint=f"Choose a later position, or do it all the same: eskit reaction reset "
            f"{planned.name} --after {planned.after} --again",
        )


def reset(
    store: EventStore, subscription: Subscription, after: int, *, again: bool = True
) -> Reset:
    """Let a follower resume after another position; a running one starts again from there.

    Without `again` commands that were forgotten since it was planned count as well: see
    `check_forgotten`. From before they are counted on nobody forgets any more of them.
    """
    name = subscription.name
    _check_place(store, after)
    held = _hold_commands(store, name, after)
    try:
        planned = plan_reset(store, subscription, after)
        if not again:
            check_forgotten(planned)
    except BaseException:
        _let_go_of_commands(store, held)
        raise
    try:
        _, revision = load_state(store, name)
    except PlaceLost as error:
        revision = error.revision
    at = store.find_event(after) if after else None
    place = SubscriptionState(
        position=after,
        store_id=store.store_id,
        event_id=at.event_id if at is not None else "",
    )
    save_state(store, name, place, revision=revision)
    return planned


def _hold_commands(store: EventStore, name: str, after: int) -> tuple[Record, Record] | None:
    """Keep the commands that a follower has sent for what comes behind a position.

    The record of its place before and now; None where it has none, or one that holds them all.
    """
    while (record := store.find_record(FOLLOWER, name)) is not None:
        try:
            pairs = json.loads(record.value)
            if after >= int(pairs["low"]):
                return None
        except (KeyError, TypeError, ValueError):  # unreadable, so that every command is kept
            return None
        value = json.dumps({**pairs, "low": after})
        with contextlib.suppress(RecordChanged):  # the follower has saved meanwhile
            revision = store.save_record(FOLLOWER, name, value, expected_revision=record.revision)
            return record, replace(record, value=value, revision=revision)
    return None


def _let_go_of_commands(store: EventStore, held: tuple[Record, Record] | None) -> None:
    if held is not None:
        before, now = held
        with contextlib.suppress(RecordChanged):  # the follower has saved: it is as it was
            store.save_record(FOLLOWER, now.key, before.value, expected_revision=now.revision)


def count_forgotten(store: EventStore, name: str, after: int, up_to: int) -> int:
    """How many commands that a reaction sent for events between are not remembered any more.

    The log tells: what they led to names the event as its cause, and the command.
    """
    causes: set[str] = set()
    seen: set[tuple[str, str]] = set()
    forgotten = 0
    for event in store.read_all(after=after):
        if event.global_position <= up_to:
            causes.add(event.event_id)
        metadata = event.metadata
        command = event.tenant, metadata.command_id
        if metadata.causation_id not in causes or command in seen or not metadata.command_id:
            continue
        seen.add(command)
        if is_sent_by(name, metadata.command_id):
            forgotten += store.for_tenant(event.tenant).find_command(metadata.command_id) is None
    return forgotten


def is_sent_by(name: str, command_id: str) -> bool:
    """Whether a reaction has sent the command, or may have: earlier ids do not say which."""
    if command_id.startswith("reaction:"):
        return command_id.startswith(f"reaction:{name}:")
    return command_id[14:15] == "5"  # a UUID that is derived


def _pause_reason(store: EventStore, name: str) -> str | None:
    record = store.find_record(PAUSE, name)
    return None if record is None else str(json.loads(record.value)["reason"])


def _lag(
    store: EventStore, subscription: Subscription, progress: SubscriptionState, behind: int
) -> int:
    """The events that wait: those behind where the log was read, and those of waiting streams."""
    read = progress.position if progress.position is not None else behind
    head = store.head_position()
    waiting = 0
    for position in progress.unhandled:
        first = store.find_event(position)
        if first is not None:
            waiting += sum(
                event.global_position <= read and event.event_type in subscription.event_types
                for event in store.for_tenant(first.tenant).read_stream(
                    first.stream, after=first.version - 1
                )
            )
    return _count(store, subscription, read, head) + waiting


def _count(store: EventStore, subscription: Subscription, after: int, up_to: int) -> int:
    if up_to <= after:
        return 0
    return store.count_events(
        after=after, before=up_to + 1, event_types=tuple(subscription.event_types)
    )


def _age_of_next(
    store: EventStore, subscription: Subscription, position: int, now: datetime
) -> float:
    types = tuple(subscription.event_types)
    for event in store.read_all(after=position, limit=1, event_types=types):
        return max(0.0, (now - event.recorded_at).total_seconds())
    return 0.0


def _trouble(progress: SubscriptionState) -> str:
    trouble = progress.trouble
    return f"{trouble.position:,}: {trouble.error}" if trouble is not None else ""


def _hung(attempts: Iterable[Attempt], now: datetime) -> str:
    for attempt in attempts:
        if attempt.since is not None:
            seconds = (now - attempt.since).total_seconds()
            if seconds > SLOW_AFTER:
                return f"has been handling {attempt.position:,} for {seconds:,.0f} s"
    return ""


def _trying_again(attempts: Iterable[Attempt], progress: SubscriptionState) -> str:
    failed = next((attempt for attempt in attempts if attempt.attempts), None)
    if failed is None:
        return ""
    trouble = progress.trouble
    why = f": {trouble.error}" if trouble is not None else ""
    return f"trying again to handle {failed.position:,}{why}"


def _set_aside(letters: Sequence[DeadLetter]) -> str:
    if not letters:
        return ""
    return (
        f"{count(len(letters), 'dead letter')}, the first at {letters[0].event.global_position:,}"
    )
