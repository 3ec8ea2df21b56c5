"""Reactions and subscriptions: where they are, and what a reset means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from eskit.errors import Diagnostic
from eskit.reports.envelope import holder_object, timestamp_or_none
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.messaging.follower_status import Attempt, FollowerStatus, Reset


def status_object(status: FollowerStatus) -> dict[str, object]:
    """A follower's state, position, lag and what it is handling."""
    return {
        "name": status.name,
        "kind": status.kind,
        "kept_in": status.kept_in,
        "state": status.state,
        "position": status.position,
        "head": status.head,
        "lag": status.lag,
        "error": status.error or None,
        "trouble": status.trouble or None,
        "updated_at": timestamp_or_none(status.updated_at),
        "oldest_seconds": status.oldest_seconds,
        "attempts": _most_attempts(status),
        "in_flight": [_attempt_object(attempt) for attempt in status.in_flight],
        "waiting": [_attempt_object(attempt) for attempt in status.waiting],
        "set_aside": status.set_aside,
        "skipped": status.skipped,
        "pause": status.pause or None,
        "needed_commands": status.needed,
        **holder_object(status.holder),
    }


def _attempt_object(attempt: Attempt) -> dict[str, object]:
    return {
        "position": attempt.position,
        "attempts": attempt.attempts,
        "since": timestamp_or_none(attempt.since),
    }


def _most_attempts(status: FollowerStatus) -> int:
    return max((each.attempts for each in (*status.waiting, *status.in_flight)), default=0)


def failed_error(failed: Sequence[FollowerStatus]) -> dict[str, object]:
    """The error of an envelope: which followers failed."""
    return {
        "code": "REACTION_FAILED",
        "message": f"{count(len(failed), _noun(failed))} failed: "
        + ", ".join(each.name for each in failed),
        "hint": f"eskit reaction status {failed[0].name}",
    }


def find_abandoned(statuses: Sequence[FollowerStatus]) -> list[Diagnostic]:
    """A warning about those that are behind while no process runs them."""
    abandoned = [status for status in statuses if status.abandoned]
    if not abandoned:
        return []
    behind = count(sum(status.lag for status in abandoned), "event")
    reacts = all(status.kind == "reaction" for status in abandoned)
    return [
        Diagnostic(
            severity="warning",
            code="REACTION_NOT_RUN",
            message=f"{', '.join(status.name for status in abandoned)}: {behind} behind, and no "
            f"process runs {'it' if len(abandoned) == 1 else 'them'}",
            hint="Run reactions: eskit serve"
            if reacts
            else "Start the program that subscribes, or, for reactions: eskit serve",
        )
    ]


def _noun(statuses: Sequence[FollowerStatus]) -> str:
    kinds = {status.kind for status in statuses}
    return kinds.pop() if len(kinds) == 1 else "follower"


def reset_object(reset: Reset, *, done: bool) -> dict[str, object]:
    """What a reset means, and whether it was done."""
    return {**asdict(reset), "changed": done}
