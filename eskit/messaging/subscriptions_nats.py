"""A bus over JetStream: events from the relay's stream, progress in a key-value bucket.

The bucket is an ordinary NATS key-value bucket (``nats kv`` can look at it): keys
``<stream>.<subscription>.progress``, ``….pauses`` and ``….dead.<position>``, values JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from eskit.clock import Clock
from eskit.domain.subjects import DEFAULT_NAMES
from eskit.errors import PlaceLost, SubscriptionTaken
from eskit.messaging.bus import EventBus
from eskit.messaging.jetstream_source import JetStreamSource
from eskit.messaging.pauses import new_pause, new_resume, not_paused, paused_already
from eskit.messaging.subscription import DeadLetter, SubscriptionState, decided_meanwhile, taken
from eskit.messaging.subscription_format import (
    decode_decision,
    decode_state,
    encode_decision,
    encode_state,
    unreadable,
)
from eskit.nats.connection import Connection
from eskit.nats.headers import decode_event, encode_headers
from eskit.nats.jetstream import (
    STREAM_NOT_FOUND,
    WRONG_LAST_SEQUENCE,
    JetStreamError,
    StoredMessage,
    create_consumer,
    create_stream,
    find_stream,
    has_consumer,
    last_message,
    list_consumers,
    list_subjects,
    publish,
)

BUCKET = "eskit-subscriptions"
_STREAM = f"KV_{BUCKET}"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_MARK = "eskit-place-"
"""What the name of the consumer begins with that tells that a subscription has had a place."""


def nats_bus(
    connection: Connection,
    *,
    stream: str = DEFAULT_NAMES.stream,
    prefix: str = DEFAULT_NAMES.prefix,
    replicas: int = 1,
) -> EventBus:
    """A bus over the stream that a relay fills; its subscriptions outlive processes.

    Progress is kept on as many servers as the events are, or on `replicas` when it begins before
    the stream is there.
    """
    source = JetStreamSource(connection, stream=stream, prefix=prefix)
    kept = KeyValueSubscriptions(connection, scope=stream, replicas=replicas)
    return EventBus(source, kept)


class KeyValueSubscriptions:
    """Progress and dead letters of the subscriptions of one stream, in a key-value bucket."""

    def __init__(self, connection: Connection, *, scope: str, replicas: int = 1) -> None:
        self._connection = connection
        self._scope = scope
        self._replicas = replicas
        self._ready = self._seen = False
        self._marked: set[str] = set()

    async def load(self, name: str) -> tuple[SubscriptionState, int]:
        """See Subscriptions."""
        message = await self.find_progress(name)
        if message is None:
            return SubscriptionState(), 0
        revision = message.sequence
        return decode_state(name, _decode(message, name), revision=revision), revision

    async def find_progress(self, name: str) -> StoredMessage | None:
        """What is kept of the progress; PlaceLost where it was and is not any more.

        Looking creates no bucket.
        """
        message = None
        if await find_stream(self._connection, _STREAM) is not None:
            self._seen = True
            message = await last_message(self._connection, _STREAM, self._key(name, "progress"))
        elif self._seen:
            self._ready = False
            raise PlaceLost(
                f"The bucket {BUCKET} was deleted from NATS: eskit cannot tell how far {name} is",
                hint=_set_place(name),
            )
        if message is None and await has_consumer(self._connection, self._scope, _MARK + name):
            raise PlaceLost(
                f"The place of subscription {name} is gone from NATS, where it had one",
                hint=_set_place(name),
            )
        return message

    async def save(self, name: str, progress: SubscriptionState, *, revision: int) -> int:
        """See Subscriptions."""
        await self._create_bucket()
        try:
            saved = await self._put(
                self._key(name, "progress"), encode_state(progress), {_EXPECTED: str(revision)}
            )
        except JetStreamError as error:
            if error.number == WRONG_LAST_SEQUENCE:
                raise taken(name) from error
            raise
        if name not in self._marked:
            # With the events, so that it outlives the bucket. It may be that they are not there
            # yet, or that this user may make no durable consumers.
            with contextlib.suppress(JetStreamError):
                await create_consumer(self._connection, self._scope, _MARK + name)
                self._marked.add(name)
        return saved

    async def find_pause(self, name: str) -> str | None:
        """See Subscriptions."""
        pauses, _ = await self._load_pauses(name)
        return _pause_reason(pauses)

    async def pause(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """See Subscriptions."""
        pause = new_pause(reason=reason, by=by, clock=clock)
        while True:
            pauses, revision = await self._load_pauses(name)
            if (paused := _pause_reason(pauses)) is not None:
                raise paused_already(name, paused)
            if await self._save_pauses(name, [*pauses, pause], revision):
                return

    async def resume(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """See Subscriptions."""
        ended = new_resume(reason=reason, by=by, clock=clock)
        while True:
            pauses, revision = await self._load_pauses(name)
            if _pause_reason(pauses) is None:
                raise not_paused(name)
            now = [*pauses[:-1], {**pauses[-1], "resumed": ended}]
            if await self._save_pauses(name, now, revision):
                return

    async def list_pauses(self, name: str) -> list[Mapping[str, Any]]:
        """The subscription's pauses, oldest first; `resumed` says when and why one has ended."""
        pauses, _ = await self._load_pauses(name)
        return pauses

    async def _load_pauses(self, name: str) -> tuple[list[Mapping[str, Any]], int]:
        try:
            message = await last_message(self._connection, _STREAM, self._key(name, "pauses"))
        except JetStreamError as error:
            if error.number != STREAM_NOT_FOUND:
                raise
            message = None
        if message is None:
            return [], 0
        return list(_decode(message, name)), message.sequence

    async def _save_pauses(
        self, name: str, pauses: Sequence[Mapping[str, Any]], revision: int
    ) -> bool:
        """Whether it was saved: not if they have changed meanwhile."""
        await self._create_bucket()
        expected = {_EXPECTED: str(revision)}
        try:
            await self._put(self._key(name, "pauses"), pauses, expected)
        except JetStreamError as error:
            if error.number == WRONG_LAST_SEQUENCE:
                return False
            raise
        return True

    async def list_followers(self) -> list[str]:
        """The subscriptions of which there is anything, also a place that was lost; sorted."""
        subjects = await self._subjects(self._key("*", ">"))
        consumers = await list_consumers(self._connection, self._scope)
        return sorted(
            {subject.split(".")[3] for subject in subjects}
            | {name.removeprefix(_MARK) for name in consumers if name.startswith(_MARK)}
        )

    async def list_places(self) -> list[str] | None:
        """The subscriptions that have a progress; None without a bucket."""
        if await find_stream(self._connection, _STREAM) is None:
            return None
        subjects = await self._subjects(self._key("*", "progress"))
        return [subject.split(".")[-2] for subject in subjects]

    async def rewind(self, position: int) -> None:
        """Let every subscription resume after a position that it has passed.

        For a log that is no longer the same behind it. Whoever is at work on one begins again.
        """
        for subject in await self._subjects(self._key("*", "progress")):
            await self._rewind(subject.split(".")[-2], position)

    async def _rewind(self, name: str, position: int) -> None:
        progress, revision = await self.load(name)
        while True:
            try:
                await self.save(name, progress.up_to(position), revision=revision)
            except SubscriptionTaken:  # its owner has saved meanwhile
                progress, revision = await self.load(name)
            else:
                return

    async def add_dead_letter(self, letter: DeadLetter) -> None:
        """See Subscriptions."""
        key = self._letter_key(letter)
        while True:
            message = None
            if await find_stream(self._connection, _STREAM) is not None:
                message = await last_message(self._connection, _STREAM, key)
            if message is not None and _letter_of(letter.subscription, message).skipped:
                return
            former = message.sequence if message is not None else 0
            try:
                await self._put(key, _pairs_of_letter(letter), {_EXPECTED: str(former)})
            except JetStreamError as error:
                if error.number != WRONG_LAST_SEQUENCE:
                    raise
            else:
                return

    async def list_dead_letters(self, name: str) -> list[DeadLetter]:
        """See Subscriptions."""
        letters = []
        for subject in await self._subjects(self._key(name, "dead.*")):
            message = await last_message(self._connection, _STREAM, subject)
            if message is not None:
                letters.append(_letter_of(name, message))
        return sorted(letters, key=lambda letter: letter.event.global_position)

    async def list_names(self) -> list[str]:
        """See Subscriptions."""
        subjects = await self._subjects(self._key("*", "dead.*"))
        return sorted({subject.split(".")[-3] for subject in subjects})

    async def replace_dead_letter(self, letter: DeadLetter, changed: DeadLetter) -> None:
        """See Subscriptions."""
        expected = {_EXPECTED: str(letter.revision)}
        try:
            await self._put(self._letter_key(letter), _pairs_of_letter(changed), expected)
        except JetStreamError as error:
            if error.number == WRONG_LAST_SEQUENCE:
                raise decided_meanwhile(letter) from error
            raise

    def _letter_key(self, letter: DeadLetter) -> str:
        return self._key(letter.subscription, f"dead.{letter.event.global_position}")

    async def _subjects(self, matching: str) -> list[str]:
        """The keys there are; looking creates no bucket."""
        if await find_stream(self._connection, _STREAM) is None:
            return []
        return await list_subjects(self._connection, _STREAM, matching)

    def _key(self, name: str, what: str) -> str:
        return f"$KV.{BUCKET}.{self._scope}.{name}.{what}"

    async def _put(self, key: str, pairs: Any, headers: dict[str, str]) -> int:
        return await publish(self._connection, key, json.dumps(pairs).encode(), headers)

    async def _create_bucket(self) -> None:
        if self._ready:
            return
        if await find_stream(self._connection, _STREAM) is None:
            events = await find_stream(self._connection, self._scope)
            await create_stream(
                self._connection,
                {
                    "name": _STREAM,
                    "subjects": [f"$KV.{BUCKET}.>"],
                    "max_msgs_per_subject": 1,
                    "discard": "new",
                    "retention": "limits",
                    "storage": "file",
                    "allow_rollup_hdrs": True,
                    "deny_delete": True,
                    "allow_direct": True,
                    "num_replicas": events.config["num_replicas"] if events else self._replicas,
                },
            )
        self._ready = self._seen = True


def _set_place(name: str) -> str:
    return (
        f"Set where it resumes: eskit reaction reset {name} --after POSITION|now; "
        "in a program of your own: bus.reset(name, after=…)"
    )


def _decode(message: StoredMessage, name: str) -> Any:
    try:
        return json.loads(message.data)
    except ValueError as error:
        raise unreadable(name, message.sequence) from error


def _pause_reason(pauses: Sequence[Mapping[str, Any]]) -> str | None:
    if not pauses or "resumed" in pauses[-1]:
        return None
    return str(pauses[-1]["reason"])


def _pairs_of_letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "headers": encode_headers(letter.event, ""),
        "data": base64.b64encode(letter.event.data).decode(),
        "error": letter.error,
        "traceback": letter.traceback,
        "deliveries": letter.deliveries,
        "failed_at": letter.failed_at.isoformat(),
        "decision": encode_decision(letter.decision),
    }


def _letter_of(name: str, message: StoredMessage) -> DeadLetter:
    pairs = _decode(message, name)
    try:
        return DeadLetter(
            subscription=name,
            event=decode_event(pairs["headers"], base64.b64decode(pairs["data"])),
            error=pairs["error"],
            traceback=pairs["traceback"],
            deliveries=pairs["deliveries"],
            failed_at=datetime.fromisoformat(pairs["failed_at"]),
            decision=decode_decision(pairs["decision"]),
            revision=message.sequence,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise unreadable(name, message.sequence) from error
