"""Progress and decisions of subscriptions as JSON objects, wherever they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from eskit.errors import PlaceLost
from eskit.messaging.subscription import (
    DeadLetterDecision,
    Subscription,
    SubscriptionState,
    Trouble,
)


def encode_state(progress: SubscriptionState) -> dict[str, Any]:
    """The progress as a JSON object; `low` is for those who only want to know that."""
    return {
        "position": progress.position,
        "low": progress.low,
        "store_id": progress.store_id,
        "event_id": progress.event_id,
        "unhandled": _with_text_keys(progress.unhandled),
        "done": sorted(progress.done),
        "deliveries": _with_text_keys(progress.deliveries),
        "owner": progress.owner,
        "beat": progress.heartbeat,
        "running": {str(at): since.isoformat() for at, since in progress.running.items()},
        "trouble": _encode_trouble(progress.trouble),
        "follows": _encode_follows(progress.follows),
    }


def decode_state(name: str, pairs: Any, *, revision: int) -> SubscriptionState:
    """The progress again, also one that an earlier eskit has kept; PlaceLost for anything else."""
    try:
        return SubscriptionState(
            position=None if pairs["position"] is None else int(pairs["position"]),
            store_id=str(pairs.get("store_id", "")),
            event_id=str(pairs.get("event_id", "")),
            unhandled=_with_number_keys(pairs.get("unhandled", {})),
            done=frozenset(map(int, pairs["done"])),
            deliveries=_with_number_keys(pairs["deliveries"]),
            owner=str(pairs["owner"]),
            heartbeat=int(pairs["beat"]),
            running={
                int(at): datetime.fromisoformat(since)
                for at, since in pairs.get("running", {}).items()
            },
            trouble=_decode_trouble(pairs.get("trouble")),
            follows=_decode_follows(name, pairs.get("follows")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(name, revision) from error


def encode_decision(decision: DeadLetterDecision | None) -> dict[str, Any] | None:
    """A decision as a JSON object."""
    if decision is None:
        return None
    return {
        "action": decision.action,
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        "decided_at": decision.decided_at.isoformat(),
    }


def decode_decision(pairs: Any) -> DeadLetterDecision | None:
    """The decision again."""
    if not pairs:
        return None
    return DeadLetterDecision(
        **{**pairs, "decided_at": datetime.fromisoformat(pairs["decided_at"])}
    )


def unreadable(name: str, revision: int) -> PlaceLost:
    """The error of a subscription whose progress is there and makes no sense."""
    return PlaceLost(
        f"What is kept of {name} cannot be read: eskit cannot tell how far it has come",
        hint=f"Set where it resumes: eskit reaction reset {name} --after POSITION|now; "
        "in a program of your own: bus.reset(name, after=…)",
        revision=revision,
    )


def _encode_trouble(trouble: Trouble | None) -> dict[str, Any] | None:
    if trouble is None:
        return None
    return {
        "position": trouble.position,
        "error": trouble.error,
        "at": trouble.at.isoformat(),
    }


def _decode_trouble(pairs: Any) -> Trouble | None:
    if not pairs:
        return None
    return Trouble(
        position=int(pairs["position"]),
        error=str(pairs["error"]),
        at=datetime.fromisoformat(pairs["at"]),
    )


def _encode_follows(follows: Subscription | None) -> dict[str, Any] | None:
    if follows is None:
        return None
    start = follows.start
    return {
        "start": start.isoformat() if isinstance(start, datetime) else start,
        "event_types": list(follows.event_types),
        "aggregates": list(follows.aggregates),
        "stream": follows.stream,
        "tenants": list(follows.tenants),
    }


def _decode_follows(name: str, pairs: Any) -> Subscription | None:
    if not pairs:
        return None
    start = pairs["start"]
    if isinstance(start, str) and start not in {"first", "new"}:
        start = datetime.fromisoformat(start)
    return Subscription(
        name=name,
        start=start,
        event_types=pairs["event_types"],
        aggregates=pairs["aggregates"],
        stream=pairs["stream"],
        tenants=pairs["tenants"],
    )


def _with_text_keys(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(position): count for position, count in counts.items()}


def _with_number_keys(pairs: Mapping[str, Any]) -> dict[int, int]:
    return {int(position): int(count) for position, count in pairs.items()}
