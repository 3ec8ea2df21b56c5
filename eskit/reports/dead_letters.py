"""Dead letters of projections and of subscriptions alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from eskit.reports.envelope import timestamp

if TYPE_CHECKING:
    from eskit.messaging.subscription import DeadLetter, DeadLetterDecision
    from eskit.projections.records import ProjectionDeadLetter, Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterEntry:
    """One event that waits for a decision, or is skipped by one, as every follower shows it.

    `data` is the report; `note` the error, or who decided and why; `again` the command
    that tries again, if there is one.
    """

    follower: str
    state: str
    position: int
    event_id: str
    event_type: str
    stream: str
    at: datetime
    note: str
    data: Mapping[str, object]
    attempts: int = 0
    traceback: str = ""
    again: str = ""

    @property
    def text(self) -> str:
        """The event in a few words."""
        return f"{self.position:,} {self.event_type} of {self.stream}"

    @property
    def detail(self) -> dict[str, object]:
        """The report of it alone."""
        return {**self.data, "traceback": self.traceback}


_AGAIN = {
    "stopped": "project run --once {name}",
    "rebuild stopped": "project rebuild {name}",
}
"""The commands that try again, by the state of an event that is no dead letter."""


def dead_letter_entry(letter: ProjectionDeadLetter) -> DeadLetterEntry:
    """An event that waits for a decision about a projection."""
    data = {**asdict(letter), "since": timestamp(letter.since)}
    del data["traceback"]
    which = f"{letter.projection} {letter.position}"
    return DeadLetterEntry(
        follower=letter.projection,
        state=letter.state,
        position=letter.position,
        event_id=letter.event_id,
        event_type=letter.event_type,
        stream=letter.stream,
        at=letter.since,
        note=letter.error,
        data=data,
        attempts=letter.attempts,
        traceback=letter.traceback,
        again=_AGAIN.get(letter.state, "deadletter retry {which} --reason '…'").format(
            name=letter.projection, which=which
        ),
    )


def skip_entry(skip: Skip) -> DeadLetterEntry:
    """A decision that a projection never handles an event."""
    return DeadLetterEntry(
        follower=skip.projection,
        state="skipped",
        position=skip.position,
        event_id=skip.event_id,
        event_type=skip.event_type,
        stream=skip.stream,
        at=skip.decided_at,
        note=f"{skip.decided_by}: {skip.reason}",
        data={**asdict(skip), "state": "skipped", "decided_at": timestamp(skip.decided_at)},
    )


def subscription_entry(letter: DeadLetter, *, reaction: bool) -> DeadLetterEntry:
    """A dead letter of a subscription; only a reaction's is retried from here."""
    event, decision = letter.event, letter.decision
    data = {
        "subscription": letter.subscription,
        "state": decision.action if decision else "failed",
        "position": event.global_position,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "stream": event.stream,
        "tenant": event.tenant,
        "attempts": letter.deliveries,
        "error": letter.error,
        "since": timestamp(letter.failed_at),
        **(_decision_object(decision) if decision else {}),
    }
    which = f"{letter.subscription} {event.global_position}"
    return DeadLetterEntry(
        follower=letter.subscription,
        state=decision.action if decision else "failed",
        position=event.global_position,
        event_id=event.event_id,
        event_type=event.event_type,
        stream=event.stream,
        at=decision.decided_at if decision else letter.failed_at,
        note=f"{decision.decided_by}: {decision.reason}" if decision else letter.error,
        data=data,
        attempts=letter.deliveries,
        traceback=letter.traceback,
        again=f"deadletter retry {which} --reason '…'" if reaction else "",
    )


def _decision_object(decision: DeadLetterDecision) -> dict[str, object]:
    return {
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        "decided_at": timestamp(decision.decided_at),
    }
