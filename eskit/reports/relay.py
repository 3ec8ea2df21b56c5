"""The relay: what it did and what is in its way, as the store knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from eskit.processes.holding import Holder, find_holder
from eskit.reports.envelope import holder_object

if TYPE_CHECKING:
    from eskit.messaging.relay import RelayReport
    from eskit.messaging.skips import RelaySkip
    from eskit.store.eventstore import EventStore

_WRONG = {"away", "blocked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOverview:
    """What the store knows about its relay.

    `state` is ``running``, ``stopped``, or what is in its way: ``away`` while NATS is, ``blocked``
    by what does not pass by itself; `error` and `hint` are of that. `position` is of another
    store's log with `other_store`.
    """

    state: str
    holder: Holder | None
    position: int
    head: int
    other_store: bool
    error: str
    hint: str
    skips: Sequence[RelaySkip]

    @property
    def events_wait(self) -> bool:
        """Whether there is something to publish, and no relay runs."""
        return self.holder is None and not self.other_store and self.position < self.head

    @property
    def is_well(self) -> bool:
        """Whether nothing has to be done about it."""
        return not (self.state in _WRONG or self.other_store or self.events_wait)


def load_relay(store: EventStore) -> RelayOverview:
    """What the store knows about its relay now."""
    from eskit.messaging.obstacles import find_obstacle
    from eskit.messaging.skips import list_relay_skips
    from eskit.store.records import RELAY_CHECKPOINT

    holder, obstacle = find_holder(store.lock("relay")), find_obstacle(store)
    checkpoint = store.find_checkpoint(RELAY_CHECKPOINT)
    state, error, hint = "stopped" if holder is None else "running", "", ""
    if obstacle is not None:
        state, error, hint = "blocked", obstacle.error, obstacle.hint
    elif holder is not None and holder.waiting_for:
        state, error, hint = "away", holder.waiting_for, holder.hint
    return RelayOverview(
        state=state,
        holder=holder,
        position=checkpoint.position if checkpoint else 0,
        head=store.head_position(),
        other_store=checkpoint is not None and checkpoint.store_id != store.store_id,
        error=error,
        hint=hint,
        skips=list_relay_skips(store),
    )


def relay_object(overview: RelayOverview) -> dict[str, object]:
    """The relay's state, position and skipped events."""
    return {
        "state": overview.state,
        **holder_object(overview.holder, "pid"),
        "position": overview.position,
        "head": overview.head,
        "other_store": overview.other_store,
        "error": overview.error,
        "skipped": [skip_object(skip) for skip in overview.skips],
    }


def skip_object(skip: RelaySkip) -> dict[str, object]:
    """A decision to publish the log without an event."""
    return {**asdict(skip), "decided_at": skip.decided_at.isoformat()}


def published_object(report: RelayReport) -> dict[str, object]:
    """What a relay has published."""
    return {
        "published": report.published,
        "position": report.position,
        "skipped": report.skipped,
        "replaced": report.replaced or None,
    }
