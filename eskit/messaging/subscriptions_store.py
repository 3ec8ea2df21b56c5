"""Progress and dead letters of the followers of a log, kept with the log.

They are records of the store: a backup has them, and they are as safe as the events themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import RecordChanged
from eskit.messaging.bus import EventBus, StoreSource
from eskit.messaging.pauses import new_pause, new_resume, not_paused, paused_already
from eskit.messaging.subscription import DeadLetter, SubscriptionState, decided_meanwhile, taken
from eskit.messaging.subscription_format import (
    decode_decision,
    decode_state,
    encode_decision,
    encode_state,
    unreadable,
)
from eskit.store.eventstore import EventStore
from eskit.store.records import FOLLOWER, LETTER, Record, letter_key

PAUSE = "pause"
ENDED_PAUSE = "ended pause"
Result = TypeVar("Result")


def store_bus(store: EventStore, *, clock: Clock = SYSTEM_CLOCK) -> EventBus:
    """A bus over the log itself; its subscriptions outlive processes, and need no broker."""
    return EventBus(StoreSource(store), StoreSubscriptions(store), clock=clock)


class StoreSubscriptions:
    """Keeps them in the store; a dead letter names its event, which stays in the log."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def load(self, name: str) -> tuple[SubscriptionState, int]:
        """See Subscriptions."""
        return await asyncio.to_thread(load_state, self._store, name)

    async def save(self, name: str, progress: SubscriptionState, *, revision: int) -> int:
        """See Subscriptions."""
        return await asyncio.to_thread(save_state, self._store, name, progress, revision=revision)

    async def find_pause(self, name: str) -> str | None:
        """See Subscriptions."""
        return await asyncio.to_thread(find_pause, self._store, name)

    async def pause(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """See Subscriptions."""
        await asyncio.to_thread(pause, self._store, name, reason=reason, by=by, clock=clock)

    async def resume(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """See Subscriptions."""
        await asyncio.to_thread(resume, self._store, name, reason=reason, by=by, clock=clock)

    async def add_dead_letter(self, letter: DeadLetter) -> None:
        """See Subscriptions."""
        await asyncio.to_thread(add_dead_letter, self._store, letter)

    async def list_dead_letters(self, name: str) -> list[DeadLetter]:
        """See Subscriptions."""
        return await asyncio.to_thread(list_dead_letters, self._store, name)

    async def list_names(self) -> list[str]:
        """See Subscriptions."""
        records = await asyncio.to_thread(self._store.list_records, LETTER)
        return sorted({_name_of(record) for record in records})

    async def replace_dead_letter(self, letter: DeadLetter, changed: DeadLetter) -> None:
        """See Subscriptions."""
        try:
            await asyncio.to_thread(
                self._store.save_record,
                LETTER,
                _key_of(changed),
                json.dumps(_encode_letter(changed)),
                expected_revision=letter.revision,
            )
        except RecordChanged as error:
            raise decided_meanwhile(letter) from error


def load_state(store: EventStore, name: str) -> tuple[SubscriptionState, int]:
    """How far a follower is, and the revision of that; PlaceLost if it cannot be read."""
    record = store.find_record(FOLLOWER, name)
    if record is None:
        return SubscriptionState(), 0
    pairs = _decode(record)
    return decode_state(name, pairs, revision=record.revision), record.revision


def save_state(store: EventStore, name: str, progress: SubscriptionState, *, revision: int) -> int:
    """Replace the progress at that revision; SubscriptionTaken when it has changed meanwhile."""
    try:
        return store.save_record(
            FOLLOWER, name, json.dumps(encode_state(progress)), expected_revision=revision
        )
    except RecordChanged as error:
        raise taken(name) from error


def find_pause(store: EventStore, name: str) -> str | None:
    """Why a follower is paused; None if it is not."""
    record = store.find_record(PAUSE, name)
    return None if record is None else str(json.loads(record.value)["reason"])


def pause(store: EventStore, name: str, *, reason: str, by: str, clock: Clock) -> None:
    """Keep a follower where it is until it is resumed; InvalidArgument if it is paused."""
    value = json.dumps(new_pause(reason=reason, by=by, clock=clock))
    try:
        store.save_record(PAUSE, name, value, expected_revision=0)
    except RecordChanged as error:
        raise paused_already(name, find_pause(store, name)) from error


def resume(store: EventStore, name: str, *, reason: str, by: str, clock: Clock) -> None:
    """Resume a paused follower; NotFound if it is not paused.

    The pause stays on record, see `list_pauses`. Raises InvalidArgument without a reason.
    """
    ended = new_resume(reason=reason, by=by, clock=clock)
    record = store.find_record(PAUSE, name)
    if record is None:
        raise not_paused(name)
    begun = json.loads(record.value)
    audit = json.dumps({"name": name, **begun, "resumed": ended})
    with contextlib.suppress(RecordChanged):  # an attempt that ended here kept it already
        store.save_record(ENDED_PAUSE, f"{name} {begun['at']}", audit, expected_revision=0)
    store.delete_record(PAUSE, name, expected_revision=record.revision)


def list_pauses(store: EventStore, name: str) -> list[Mapping[str, Any]]:
    """The audit records of a follower's pauses that have ended, oldest first.

    Each has `reason`, `by` and `at` of the pause, and the same of its end under `resumed`.
    """
    kept = [json.loads(record.value) for record in store.list_records(ENDED_PAUSE)]
    return [pause for pause in kept if pause["name"] == name]


def add_dead_letter(store: EventStore, letter: DeadLetter) -> None:
    """Set an event aside; once more replaces the former, unless that was skipped."""
    key = _key_of(letter)
    while True:
        found = store.find_record(LETTER, key)
        if found is not None:
            decision = decode_decision(_decode(found)["decision"])
            if decision is not None and decision.action == "skipped":
                return
        try:
            store.save_record(
                LETTER,
                key,
                json.dumps(_encode_letter(letter)),
                expected_revision=found.revision if found is not None else 0,
            )
        except RecordChanged:  # another decision about the old one is being made
            continue
        return


def list_dead_letters(store: EventStore, name: str) -> list[DeadLetter]:
    """Every dead letter of a follower that the log still has, by position."""
    found = (
        _decode_letter(store, record)
        for record in store.list_records(LETTER)
        if _name_of(record) == name
    )
    return [letter for letter in found if letter is not None]


def _key_of(letter: DeadLetter) -> str:
    return letter_key(letter.subscription, letter.event.global_position)


def _name_of(record: Record) -> str:
    return record.key.partition(" ")[0]


def _decode(record: Record) -> Any:
    try:
        return json.loads(record.value)
    except ValueError as error:
        raise unreadable(_name_of(record), record.revision) from error


def _encode_letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "event_id": letter.event.event_id,
        "error": letter.error,
        "traceback": letter.traceback,
        "deliveries": letter.deliveries,
        "failed_at": letter.failed_at.isoformat(),
        "decision": encode_decision(letter.decision),
    }


def _decode_letter(store: EventStore, record: Record) -> DeadLetter | None:
    pairs = _decode(record)
    event = store.find_event(int(record.key.rpartition(" ")[2]))
    if event is None or event.event_id != pairs["event_id"]:
        return None
    return DeadLetter(
        subscription=_name_of(record),
        event=event,
        error=pairs["error"],
        traceback=pairs["traceback"],
        deliveries=pairs["deliveries"],
        failed_at=datetime.fromisoformat(pairs["failed_at"]),
        decision=decode_decision(pairs["decision"]),
        revision=record.revision,
    )
