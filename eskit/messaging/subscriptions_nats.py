"""A bus over JetStream: events from the relay's stream, progress in a key-value bucket.

The bucket is an ordinary NATS key-value bucket (``nats kv`` can look at it): keys
``<subscription>.progress`` and ``<subscription>.dead.<position>``, values JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime
from typing import Any

from eskit.credentials.nats import Connection
from eskit.domain.events import RecordedEvent
from eskit.domain.subjects import DEFAULT_NAMES
from eskit.errors import JetStreamError, SubscriptionTaken
from eskit.messaging.bus import EventBus
from eskit.messaging.headers import decode_event, encode_headers
from eskit.messaging.jetstream import (
    WRONG_LAST_SEQUENCE,
    create_stream,
    find_stream,
    last_message,
    list_subjects,
    publish,
)
from eskit.messaging.subscription import DeadLetter, Decision, Progress, decided_meanwhile, taken
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import tail_nats

BUCKET = "eskit-subscriptions"
_STREAM = f"KV_{BUCKET}"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


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
    """Follows the relay's stream."""

    def __init__(self, connection: Connection, *, stream: str, prefix: str) -> None:
        self._connection = connection
        self._stream, self._prefix = stream, prefix

    async def head(self) -> int:
        """The position of the last event in the stream."""
        if await find_stream(self._connection, self._stream) is None:
            return 0
        message = await last_message(self._connection, self._stream)
        return decode_event(message.headers, message.data).global_position if message else 0

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """From JetStream, over restarts."""
        return tail_nats(self._connection, request, stream=self._stream, prefix=self._prefix)


class KeyValueSubscriptions:
    """Progress and dead letters of the subscriptions of one stream, in a key-value bucket."""

    def __init__(self, connection: Connection, *, scope: str, replicas: int = 1) -> None:
        self._connection = connection
        self._scope = scope
        self._replicas = replicas
        self._ready = False

    async def load(self, name: str) -> tuple[Progress, int]:
        """See Subscriptions."""
        await self._create_bucket()
        message = await last_message(self._connection, _STREAM, self._key(name, "progress"))
        if message is None:
            return Progress(), 0
        return _progress_of(json.loads(message.data)), message.sequence

    async def save(self, name: str, progress: Progress, *, revision: int) -> int:
        """See Subscriptions."""
        try:
            return await self._put(
                self._key(name, "progress"), _pairs_of(progress), {_EXPECTED: str(revision)}
            )
        except JetStreamError as error:
            if error.number == WRONG_LAST_SEQUENCE:
                raise taken(name) from error
            raise

    async def rewind(self, position: int) -> None:
        """Let every subscription go on behind a position that it has passed.

        For a log that is no longer the same behind it. Whoever is at work on one meets
        SubscriptionTaken, and has to begin anew.
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
        key = self._key(letter.subscription, f"dead.{letter.event.global_position}")
        await self._put(key, _pairs_of_letter(letter), {})

    async def list_dead_letters(self, name: str) -> list[DeadLetter]:
        """See Subscriptions."""
        letters = []
        for subject in await self._subjects(self._key(name, "dead.*")):
            message = await last_message(self._connection, _STREAM, subject)
            if message is not None:
                letters.append(_letter_of(name, json.loads(message.data), message.sequence))
        return sorted(letters, key=lambda letter: letter.event.global_position)

    async def list_names(self) -> list[str]:
        """See Subscriptions."""
        subjects = await self._subjects(self._key("*", "dead.*"))
        return sorted({subject.split(".")[-3] for subject in subjects})

    async def decide(self, letter: DeadLetter, decision: Decision) -> None:
        """See Subscriptions."""
        key = self._key(letter.subscription, f"dead.{letter.event.global_position}")
        pairs = _pairs_of_letter(replace(letter, decision=decision))
        try:
            await self._put(key, pairs, {_EXPECTED: str(letter.revision)})
        except JetStreamError as error:
            if error.number == WRONG_LAST_SEQUENCE:
                raise decided_meanwhile(letter) from error
            raise

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


def _pairs_of(progress: Progress) -> dict[str, Any]:
    return {
        "position": progress.position,
        "done": sorted(progress.done),
        "deliveries": {str(key): value for key, value in progress.deliveries.items()},
        "owner": progress.owner,
        "beat": progress.beat,
    }


def _progress_of(pairs: dict[str, Any]) -> Progress:
    return Progress(
        position=pairs["position"],
        done=frozenset(pairs["done"]),
        deliveries={int(key): value for key, value in pairs["deliveries"].items()},
        owner=pairs["owner"],
        beat=pairs["beat"],
    )


def _pairs_of_letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "headers": encode_headers(letter.event, ""),
        "data": base64.b64encode(letter.event.data).decode(),
        "error": letter.error,
        "traceback": letter.traceback,
        "deliveries": letter.deliveries,
        "failed_at": letter.failed_at.isoformat(),
        "decision": _pairs_of_decision(letter.decision) if letter.decision else None,
    }


def _pairs_of_decision(decision: Decision) -> dict[str, Any]:
    return {
        "action": decision.action,
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        "decided_at": decision.decided_at.isoformat(),
    }


def _decision_of(pairs: dict[str, Any]) -> Decision:
    return Decision(**{**pairs, "decided_at": datetime.fromisoformat(pairs["decided_at"])})


def _letter_of(name: str, pairs: dict[str, Any], revision: int) -> DeadLetter:
    return DeadLetter(
        subscription=name,
        event=decode_event(pairs["headers"], base64.b64decode(pairs["data"])),
        error=pairs["error"],
        traceback=pairs["traceback"],
        deliveries=pairs["deliveries"],
        failed_at=datetime.fromisoformat(pairs["failed_at"]),
        decision=_decision_of(pairs["decision"]) if pairs["decision"] else None,
        revision=revision,
    )
