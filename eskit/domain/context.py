"""What a rule may know about the message it is working on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContext:
    """The command behind the current decision, or behind the event being applied.

    `now` is the time of the decision: aware UTC. While history is replayed it is the time the
    event was recorded. `traceparent` is the caller's W3C trace context, which events keep among
    their custom metadata.
    """

    command_id: str
    correlation_id: str
    causation_id: str
    principal_id: str
    tenant: str
    now: datetime
    traceparent: str = ""
