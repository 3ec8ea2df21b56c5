"""Places that reactions have kept in NATS, taken over into the store.

Earlier versions of eskit kept how far a reaction had come in a key-value bucket of the project's
broker. A store that was made by one of them, or imported, notes so (see `EARLIER`); on the first
start after that each reaction resumes from its position there. If that cannot be read, a reaction
does not begin by itself: it would send commands once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from eskit.errors import EskitError, MessagingError, PlaceLost
from eskit.messaging.subscription import DeadLetter, Subscription, SubscriptionState
from eskit.messaging.subscriptions_nats import KeyValueSubscriptions
from eskit.messaging.subscriptions_store import add_dead_letter, save_state
from eskit.nats.connection import Connection
from eskit.nats.jetstream import find_stream, last_message
from eskit.store.eventstore import EventStore, earlier_position
from eskit.store.records import FOLLOWER


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerPlace:
    """How far a reaction was, and its dead letters."""

    progress: SubscriptionState
    letters: Sequence[DeadLetter]


FindFormerPlace = Callable[[str], Awaitable[FormerPlace | None]]
"""The place of a reaction in NATS; None if reactions kept places there, and this one none.

Raises a MessagingError when it cannot be read, PlaceLost also when there is nothing of any.
"""


def needs_place(store: EventStore, subscription: Subscription) -> bool:
    """Whether the subscription has no place in the store, and may have had one elsewhere."""
    position = earlier_position(store)
    if not position or store.find_record(FOLLOWER, subscription.name) is not None:
        return False
    types = tuple(subscription.event_types)
    return next(store.read_all(before=position + 1, limit=1, event_types=types), None) is not None


def check_place(store: EventStore, subscription: Subscription) -> None:
    """Raise PlaceLost for a subscription whose place is still to be taken over."""
    if needs_place(store, subscription):
        raise _not_known(subscription.name, "its place is still to be taken over from NATS")


async def take_over(
    store: EventStore, subscription: Subscription, find: FindFormerPlace | None
) -> None:
    """Bring the place of a reaction into the store, if it may have one elsewhere.

    Raises PlaceLost when that cannot be read.
    """
    if not await asyncio.to_thread(needs_place, store, subscription):
        return
    name = subscription.name
    if find is None:
        raise _not_known(name, "its place is kept in NATS, which this process does not use")
    try:
        place = await find(name)
    except EskitError as error:
        raise _not_known(name, f"its place cannot be read from NATS: {error.message}") from error
    if place is not None:
        await asyncio.to_thread(_keep, store, name, place)


def _keep(store: EventStore, name: str, place: FormerPlace) -> None:
    position, head = place.progress.position, store.head_position()
    if position is not None and max((position, *place.progress.done)) > head:
        problem = f"NATS says that it is at {position:,}, and the log ends at {head:,}"
        raise _not_known(name, problem)
    for letter in place.letters:
        known = store.find_event(letter.event.global_position)
        if known is None or known.event_id != letter.event.event_id:
            raise _not_known(
                name, f"NATS has {letter.text} as a dead letter, and the log does not have it"
            )
        add_dead_letter(store, replace(letter, subscription=name))
    at = store.find_event(position) if position else None
    progress = replace(
        place.progress,
        store_id=store.store_id,
        event_id=at.event_id if at is not None else "",
        owner="",
    )
    save_state(store, name, progress, revision=0)


async def find_place(
    connection: Connection, name: str, *, scopes: Iterable[str], store_id: str
) -> FormerPlace | None:
    """The place of a reaction, kept under the name of the stream that it followed.

    A stream of another store is passed over.
    """
    kept = False
    for scope in scopes:
        if await _belongs_to_another(connection, scope, store_id):
            continue
        subscriptions = KeyValueSubscriptions(connection, scope=scope)
        names = await subscriptions.list_places()
        kept = kept or bool(names)
        if names and name in names:
            progress, _ = await subscriptions.load(name)
            letters = await subscriptions.list_dead_letters(name)
            return FormerPlace(progress=progress, letters=letters)
    if not kept:
        raise MessagingError("no reaction has kept a place there")
    return None


async def _belongs_to_another(connection: Connection, stream: str, store_id: str) -> bool:
    if await find_stream(connection, stream) is None:
        return False
    message = await last_message(connection, stream)
    return message is not None and message.headers.get("ce-source", "").rpartition("/")[2] not in {
        "",
        store_id,
    }


def _not_known(name: str, problem: str) -> PlaceLost:
    return PlaceLost(
        f"eskit cannot tell how far reaction {name} has come: {problem}",
        hint=f"Start NATS as it was, or set where it resumes: eskit reaction reset {name} "
        "--after POSITION|now",
    )
