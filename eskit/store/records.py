"""What a store keeps beside the log: processed commands, and how far subscriptions are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from eskit.domain.commands import first_reaction_id

RELAY_CHECKPOINT = "relay"
"""The name under which the relay keeps how far it has published."""
RELAY_STREAM_CHECKPOINT = "relay-stream"
"""Where that went: `event_id` holds when that stream was created. No place in the log."""
FOLLOWER = "follower"
"""The kind of the records that say how far followers are: `low` is up to where each has passed."""
LETTER = "dead letter"
"""The kind of the records of events that followers have set aside; see `letter_key`."""

EARLIER, REACTIONS = "earlier", "reactions"
"""Kind and key of the record of a log whose reactions have kept, or may have kept, their places
elsewhere: its `position` is up to where they may have come."""


_DIGITS = 19


def letter_key(name: str, position: int) -> str:
    """The key of the record of an event that a follower has set aside."""
    return f"{name} {position:0{_DIGITS}}"


def position_of_letter(key: str) -> int:
    """The position of the event that a record of such a key is about."""
    return int(key.rpartition(" ")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRecord:
    """What the store remembers of a processed command."""

    id: str
    fingerprint: str
    stream: str
    version: int
    global_position: int
    response: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a follower keeps with the log under a kind and a key; `value` is JSON.

    `revision` grows by one with every change, from 1 on.
    """

    kind: str
    key: str
    value: str
    revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The last event a subscription has passed: of which store, where, and which event."""

    name: str
    store_id: str
    position: int
    event_id: str
    updated_at: datetime


def needed_ids(
    followers: Iterable[tuple[str, str]], letters: Iterable[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """Which ids of commands must not be forgotten: follower, from a first id to before another.

    They are those of commands that the follower would send again: it has not passed their events,
    or has set them aside and nobody has decided about them. Of each record there are the key and
    the value; one that cannot be read says nothing of what was passed.
    """
    passed = {name: _low(value) for name, value in followers}
    found = [
        (name, first_reaction_id(name, low + 1), first_reaction_id(name, None))
        for name, low in passed.items()
    ]
    for key, value in letters:
        name, _, at = key.partition(" ")
        position = int(at)
        if json.loads(value)["decision"] is None and position <= passed.get(name, position):
            behind = first_reaction_id(name, position + 1)
            found.append((name, first_reaction_id(name, position), behind))
    return found


def _low(value: str) -> int:
    try:
        return int(json.loads(value)["low"])
    except (KeyError, TypeError, ValueError):
        return 0


def count_needed(
    command_ids: Iterable[str], needed: Sequence[tuple[str, str, str]]
) -> dict[str, int]:
    """How many of the commands each follower needs; without those that need none."""
    found: dict[str, int] = {}
    for command_id in command_ids:
        for name, first, behind in needed:
            if first <= command_id < behind:
                found[name] = found.get(name, 0) + 1
    return found
