"""What blocks the relay of a store, kept with the log: it is asked for while no relay runs, too."""

from __future__ import annotations

import json
from typing import NamedTuple

from eskit.errors import EskitError
from eskit.store.eventstore import EventStore

_KIND, _KEY = "relay", "obstacle"


class Obstacle(NamedTuple):
    """Why the relay cannot go on, and what helps."""

    error: str
    hint: str


def keep_obstacle(store: EventStore, problem: EskitError | None) -> None:
    """Remember what blocks the relay, or that nothing does any more; may raise RecordChanged."""
    found = store.find_record(_KIND, _KEY)
    revision = found.revision if found is not None else 0
    if problem is not None:
        value = {"store_id": store.store_id, "error": str(problem), "hint": problem.hint}
        store.save_record(_KIND, _KEY, json.dumps(value), expected_revision=revision)
    elif found is not None:
        store.delete_record(_KIND, _KEY, expected_revision=revision)


def find_obstacle(store: EventStore) -> Obstacle | None:
    """What blocks the relay of this store; what came with the copy of another one is not asked."""
    found = store.find_record(_KIND, _KEY)
    value = json.loads(found.value) if found is not None else {}
    if value.get("store_id") != store.store_id:
        return None
    return Obstacle(value["error"], value["hint"])
