"""How far each follower of the log has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from eskit.reports.envelope import timestamp

if TYPE_CHECKING:
    from eskit.projections.control import CheckpointChange, CheckpointRepair
    from eskit.store.eventstore import EventStore
    from eskit.store.records import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log that checkpoints are compared with."""

    store_id: str
    head: int

    def is_strange_to(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint was taken from the log of another store."""
        return checkpoint.store_id not in {"", self.store_id}


def list_checkpoints(store: EventStore, read_models: str) -> tuple[list[Checkpoint], Log]:
    """Who has come how far, of the read models at a URL and of the store, by name; in which log."""
    from eskit.messaging.followers import list_places
    from eskit.projections import opening
    from eskit.store.records import RELAY_STREAM_CHECKPOINT

    kept = [c for c in store.list_checkpoints() if c.name != RELAY_STREAM_CHECKPOINT]
    found = [*opening.list_checkpoints(read_models), *kept, *list_places(store)]
    log = Log(store_id=store.store_id, head=store.head_position())
    return sorted(found, key=lambda c: c.name), log


def checkpoint_object(checkpoint: Checkpoint, log: Log) -> dict[str, object]:
    """One checkpoint."""
    return {
        "name": checkpoint.name,
        "position": checkpoint.position,
        "updated_at": timestamp(checkpoint.updated_at),
        "event_id": checkpoint.event_id,
        "store_id": checkpoint.store_id,
        "other_store": log.is_strange_to(checkpoint),
    }


def change_object(change: CheckpointChange, *, done: bool) -> dict[str, object]:
    """What setting a checkpoint means, and whether it was done."""
    return {**asdict(change), "changed": done}


def repairs_object(repairs: Sequence[CheckpointRepair], *, dry_run: bool) -> dict[str, object]:
    """Which checkpoints of a restored store are kept, and which are not."""
    return {
        "checkpoints": [
            {
                "name": repair.name,
                "position": repair.position,
                "repaired": not repair.problem,
                "problem": repair.problem,
            }
            for repair in repairs
        ],
        "changed": not dry_run and any(not repair.problem for repair in repairs),
    }
