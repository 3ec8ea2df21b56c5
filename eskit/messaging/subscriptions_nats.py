"""A bus over JetStream: events from the relay's stream, progress in a key-value bucket.

The bucket is an ordinary NATS key-value bucket (``nats kv`` can look at it): keys
``<subscription>.progress`` and ``<subscription>.dead.<position>``, values JSON.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal

from eskit.domain.events import RecordedEvent
from eskit.domain.subjects import DEFAULT_NAMES
from eskit.errors import BrokerUnavailable, LogBroken, PlaceLost, SubscriptionTaken
from eskit.messaging.bus import EventBus
from eskit.messaging.subscription import DeadLetter, SubscriptionState, decided_meanwhile, taken
from eskit.messaging.subscription_format import (
    decode_decision,
    decode_state,
    encode_decision,
    encode_state,
    unreadable,
)
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import first_sequence, last_position, tail_nats
from eskit.nats.connection import Connection
from eskit.nats.headers import decode_event, encode_headers, filter_subjects
from eskit.nats.jetstream import (
    WRONG_LAST_SEQUENCE,
    JetStreamError,
    StoredMessage,
    create_consumer,
    create_stream,
    find_stream,
    has_consumer,
    last_message,
    list_subjects,
    message_from,
    publish,
)

BUCKET = "eskit-subscriptions"
_STREAM = f"KV_{BUCKET}"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_LOOK_EVERY = 10.0


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


class JetStreamSource:
    """Follows the relay's stream; for processes without the store."""

    def __init__(self, connection: Connection, *, stream: str, prefix: str) -> None:
        self._connection = connection
        self._stream, self._prefix = stream, prefix
        self._looked = -math.inf

    async def start_position(self, start: Literal["first", "new"] | int | datetime) -> int | None:
        """Behind which position a first run begins; of a time only the tail knows."""
        if isinstance(start, datetime):
            return None
        if start != "new":
            return start if isinstance(start, int) else 0
        state = await find_stream(self._connection, self._stream)
        return 0 if state is None else await last_position(self._connection, state)

    async def check(self, name: str, progress: SubscriptionState) -> str:  # noqa: ARG002 - the stream says it all
        """Raise LogBroken when events are gone that were not handled."""
        if progress.position:
            await self._first_behind(progress.position)
        return ""

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """From JetStream, over restarts."""
        return tail_nats(self._connection, request, stream=self._stream, prefix=self._prefix)

    async def read_again(
        self,
        position: int,
        *,
        up_to: int,
        limit: int,
        wanted: Callable[[RecordedEvent], bool] = lambda _: True,
    ) -> Sequence[RecordedEvent]:
        """The event at a position and those behind it in its stream."""
        state = await find_stream(self._connection, self._stream)
        if state is None:
            raise BrokerUnavailable(f"There is no stream {self._stream} yet")
        sequence = await first_sequence(
            self._connection, state, lambda event: event.global_position >= position
        )
        message = await message_from(self._connection, self._stream, sequence)
        first = decode_event(message.headers, message.data) if message is not None else None
        if first is None or first.global_position != position:
            return []
        request = TailRequest(
            after=position - 1, follow=False, stream=first.stream, tenants=(first.tenant,)
        )
        found: list[RecordedEvent] = []
        async with aclosing(self.follow(request)) as events:
            async for event in events:
                if event.global_position > up_to or len(found) == limit:
                    break
                if wanted(event):
                    found.append(event)
        return found

    async def advance(self, request: TailRequest, position: int) -> tuple[int, str]:
        """Up to which position nothing that is wanted lies behind this one; looks now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._looked < _LOOK_EVERY:
            return position, ""
        self._looked = now
        state = await find_stream(self._connection, self._stream)
        if state is None or not state.messages:
            return position, ""
        sequence = await self._first_behind(position)
        subjects = filter_subjects(
            self._prefix,
            aggregates=request.categories,
            event_types=request.full_types,
            tenants=request.tenants,
        )
        for subject in subjects or (">",):
            message = await message_from(self._connection, self._stream, sequence, subject)
            if message is not None and message.sequence <= state.last_sequence:
                return position, ""
        last = await message_from(self._connection, self._stream, state.last_sequence)
        if last is None or last.sequence != state.last_sequence:
            return position, ""
        event = decode_event(last.headers, last.data)
        return max(position, event.global_position), event.event_id

    async def _first_behind(self, position: int) -> int:
        """The sequence of the first event behind a position; LogBroken if some are gone there."""
        state = await find_stream(self._connection, self._stream)
        if state is None:
            return 1
        sequence = await first_sequence(
            self._connection, state, lambda event: event.global_position > position
        )
        if 1 < sequence == state.first_sequence and state.messages:
            message = await message_from(self._connection, self._stream, sequence)
            first = decode_event(message.headers, message.data) if message is not None else None
            if first is not None and first.global_position > position + 1:
                raise LogBroken(
                    f"Stream {self._stream} begins at {first.global_position:,}: events after "
                    f"{position:,} are gone, and were not handled",
                    position=position,
                )
        return sequence


class KeyValueSubscriptions:
    """Progress and dead letters of the subscriptions of one stream, in a key-value bucket."""

    def __init__(self, connection: Connection, *, scope: str, replicas: int = 1) -> None:
        self._connection = connection
        self._scope = scope
        self._replicas = replicas
        self._ready = False
        self._marked: set[str] = set()

    async def load(self, name: str) -> tuple[SubscriptionState, int]:
        """See Subscriptions."""
        if not self._ready:
            await self._create_bucket()
        elif await find_stream(self._connection, _STREAM) is None:
            raise PlaceLost(
                f"The bucket {BUCKET} was deleted from NATS: eskit cannot tell how far {name} is",
                hint="Set where it resumes: bus.reset(name, after=…)",
            )
        message = await last_message(self._connection, _STREAM, self._key(name, "progress"))
        if message is None and await has_consumer(
            self._connection, self._scope, _consumer_of(name)
        ):
            raise PlaceLost(
                f"The place of subscription {name} is gone from NATS, where it had one",
                hint="Set where it resumes: bus.reset(name, after=…)",
            )
        if message is None:
            return SubscriptionState(), 0
        revision = message.sequence
        return decode_state(name, _decode(message, name), revision=revision), revision

    async def save(self, name: str, progress: SubscriptionState, *, revision: int) -> int:
        """See Subscriptions."""
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
                await create_consumer(self._connection, self._scope, _consumer_of(name))
                self._marked.add(name)
        return saved

    async def find_pause(self, name: str) -> str | None:  # noqa: ARG002 - no command pauses it
        """See Subscriptions."""
        return None

    async def list_places(self) -> list[str] | None:
        """The subscriptions that have a progress; None without a bucket."""
        if await find_stream(self._connection, _STREAM) is None:
            return None
        subjects = await self._subjects(self._key("*", "progress"))
        return [subject.split(".")[-2] for subject in subjects]

    async def rewind(self, position: int) -> None:
        """Let every subscription resume after a position that it has passed.

        For a log that is no longer the same behind it. Whoever is at work on one meets
        SubscriptionTaken, and must be started again.
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

    async def _put(self, key: str, pairs: dict[str, Any], headers: dict[str, str]) -> int:
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
        self._ready = True


def _consumer_of(name: str) -> str:
    """The consumer that tells that a subscription has had a place."""
    return f"eskit-place-{name}"


def _decode(message: StoredMessage, name: str) -> Any:
    try:
        return json.loads(message.data)
    except ValueError as error:
        raise unreadable(name, message.sequence) from error


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
