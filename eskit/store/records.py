"""What a store keeps beside the log: processed commands, and how far subscriptions are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

RELAY_CHECKPOINT = "relay"
"""The name under which the relay keeps how far it has published."""
OUTLET_CHECKPOINT = "relay-stream"
"""Where that went: `event_id` holds when the outlet was created. No place in the log."""


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
class Checkpoint:
    """The last event a subscription has passed: of which store, where, and which event."""

    name: str
    store_id: str
    position: int
    event_id: str
    updated_at: datetime
