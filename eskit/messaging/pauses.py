"""Pauses of followers as JSON objects: `reason`, `by`, `at`, and of an ended one `resumed`."""

from __future__ import annotations

from typing import Any

from eskit.clock import Clock
from eskit.errors import InvalidArgument, NotFound


def new_pause(*, reason: str, by: str, clock: Clock) -> dict[str, Any]:
    """A pause that begins now; InvalidArgument without a reason."""
    if not reason.strip():
        raise InvalidArgument("A pause needs a reason", hint="Say why: --reason '…'")
    return _decision(reason, by, clock)


def new_resume(*, reason: str, by: str, clock: Clock) -> dict[str, Any]:
    """The end of a pause, now; InvalidArgument without a reason."""
    if not reason.strip():
        raise InvalidArgument("To resume needs a reason", hint="Say why: --reason '…'")
    return _decision(reason, by, clock)


def paused_already(name: str, reason: str | None) -> InvalidArgument:
    """The error of a second pause."""
    return InvalidArgument(
        f"{name} is paused already: {reason}",
        hint=f"Resume it: eskit reaction resume {name}",
    )


def not_paused(name: str) -> NotFound:
    """The error of resuming a follower that is not paused."""
    return NotFound(f"{name} is not paused", hint=f"See: eskit reaction status {name}")


def _decision(reason: str, by: str, clock: Clock) -> dict[str, Any]:
    return {"reason": reason, "by": by, "at": clock.now.isoformat()}
