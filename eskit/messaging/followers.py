"""Followers that keep their place with the log: where they stand, pausing and resetting them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from eskit.domain.events import RecordedEvent
from eskit.errors import CheckpointMismatch, InvalidArgument, PlaceLost, RecordChanged
from eskit.messaging.bus import check_state, start_position
from eskit.messaging.follower_status import (
    FollowerKind,
    FollowerStatus,
    Measured,
    Reset,
    make_status,
)
from eskit.messaging.subscriber import LEASE
from eskit.messaging.subscription import Subscription, SubscriptionState
from eskit.messaging.subscriptions_store import (
    find_pause,
    list_dead_letters,
    load_state,
    save_state,
)
from eskit.messaging.takeover import check_place
from eskit.store.eventstore import EventStore
from eskit.store.records import FOLLOWER, Checkpoint, Record


def load_status(
    store: EventStore,
    subscription: Subscription,
    *,
    needed: Mapping[str, int] | None = None,
    kind: FollowerKind = "reaction",
) -> FollowerStatus:
    """Look a follower up; creates nothing and waits for nothing.

    `needed` is what `prune_commands` counts, which takes its time.
    """
    name = subscription.name
    now = store.now
    record = store.find_record(FOLLOWER, name)
    problem, progress = "", SubscriptionState()
    try:
        progress, _ = load_state(store, name)
        check_state(store, name, progress)
        check_place(store, subscription)
    except (PlaceLost, CheckpointMismatch) as error:
        problem = error.message
    silent = now - record.updated_at if record is not None else timedelta.max
    return make_status(
        name,
        progress,
        _measure(store, subscription, progress),
        list_dead_letters(store, name),
        problem=problem,
        pause=find_pause(store, name),
        alive=bool(progress.owner) and silent < timedelta(seconds=2 * LEASE),
        updated_at=record.updated_at if record is not None else None,
        now=now,
        needed=(needed or {}).get(name, 0),
        kind=kind,
    )


def find_others(store: EventStore, known: Collection[str]) -> list[Subscription]:
    """The followers of the log that are not `known`, by name: of other programs, or not any more.

    One that an earlier eskit has kept is taken to follow every event.
    """
    found = []
    for record in store.list_records(FOLLOWER):
        if record.key in known:
            continue
        follows = None
        with contextlib.suppress(PlaceLost):
            follows = load_state(store, record.key)[0].follows
        found.append(follows or Subscription(name=record.key))
    return sorted(found, key=lambda subscription: subscription.name)


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


def plan_reset(
    store: EventStore, subscription: Subscription, after: int, *, kind: FollowerKind = "reaction"
) -> Reset:
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
        forgotten=count_forgotten(store, name, after, seen) if kind == "reaction" else 0,
        kind=kind,
    )


def _check_place(store: EventStore, after: int) -> int:
    """The head of the log; InvalidArgument if it ends before a position."""
    head = store.head_position()
    if not 0 <= after <= head:
        raise InvalidArgument(
            f"The log ends at {head:,}, so nothing can resume after {after:,}",
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
    store: EventStore,
    subscription: Subscription,
    after: int,
    *,
    again: bool = True,
    kind: FollowerKind = "reaction",
) -> Reset:
    """Let a follower resume after another position; a running one starts again from there.

    Without `again` commands that were forgotten since it was planned count as well: see
    `check_forgotten`. From before they are counted on nobody forgets any more of them.
    """
    name = subscription.name
    _check_place(store, after)
    held = _hold_commands(store, name, after)
    try:
        planned = plan_reset(store, subscription, after, kind=kind)
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
        follows=subscription,
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


def _measure(
    store: EventStore, subscription: Subscription, progress: SubscriptionState
) -> Measured:
    """What waits: the events behind where the log was read, and those of waiting streams."""
    head = store.head_position()
    read = progress.position
    if read is None:
        read = start_position(store, subscription.start)
    lag = _count(store, subscription, read, head)
    wanted = subscription.request(None).matches
    for position in progress.unhandled:
        first = store.find_event(position)
        if first is not None:
            lag += sum(
                event.global_position <= read and wanted(event)
                for event in store.for_tenant(first.tenant).read_stream(
                    first.stream, after=first.version - 1
                )
            )
    first_waiting = min(progress.unhandled, default=read + 1)
    oldest = next(_wanted(store, subscription, first_waiting - 1, head), None) if lag else None
    return Measured(head=head, lag=lag, oldest=oldest.recorded_at if oldest else None)


def _count(store: EventStore, subscription: Subscription, after: int, up_to: int) -> int:
    if up_to <= after:
        return 0
    request = subscription.request(after)
    if request.by_type_only:
        return store.count_events(after=after, before=up_to + 1, event_types=request.full_types)
    return sum(1 for _ in _wanted(store, subscription, after, up_to))


def _wanted(
    store: EventStore, subscription: Subscription, after: int, up_to: int
) -> Iterator[RecordedEvent]:
    """The events that it handles, behind a position and up to another."""
    request = subscription.request(after)
    events = store.read_all(
        after=after,
        before=up_to + 1,
        categories=request.categories,
        event_types=request.full_types,
        tenants=request.tenants,
    )
    return filter(request.matches, events)
