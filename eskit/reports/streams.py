"""Streams, their erasures, the values that they claim and the snapshots of their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from eskit.reports.envelope import timestamp

if TYPE_CHECKING:
    from eskit.operations.claims import ClaimsReport
    from eskit.store.eventstore import EventStore
    from eskit.store.records import ClaimRow, Erasure, Snapshot, StreamInfo
    from eskit.store.snapshotting import CheckedSnapshot

Erasures: TypeAlias = Mapping[tuple[str, str], Sequence["Erasure"]]
"""Audit records by stream and tenant."""


def load_erasures(store: EventStore) -> Erasures:
    """The audit records of erasures by stream and tenant, oldest first."""
    from eskit.store.records import Erasure  # only what opens a store pays for it

    found: dict[tuple[str, str], list[Erasure]] = {}
    with store.view() as view:
        for erasure in view.rows(Erasure):
            found.setdefault((erasure.stream, erasure.tenant), []).append(erasure)
    return found


def key_of(stream: StreamInfo) -> tuple[str, str]:
    """Under which key the erasures of a stream are found."""
    return stream.stream, stream.tenant


def erasure_object(erasure: Erasure) -> dict[str, object]:
    """One erasure: who, when, why, and up to where."""
    return {**asdict(erasure), "erased_at": timestamp(erasure.erased_at)}


def stream_object(stream: StreamInfo, erasures: Erasures) -> dict[str, object]:
    """One stream with its erasures, oldest first."""
    return {
        "stream": stream.stream,
        "category": stream.category,
        "version": stream.version,
        "first_recorded_at": timestamp(stream.first_recorded_at),
        "last_recorded_at": timestamp(stream.last_recorded_at),
        "tenant": stream.tenant,
        "erasures": [erasure_object(erasure) for erasure in erasures.get(key_of(stream), ())],
    }


def claim_object(held: ClaimRow) -> dict[str, object]:
    """One claim."""
    return {
        "index": held.index_name,
        "value": held.value,
        "stream": held.stream,
        "tenant": held.tenant,
    }


def comparison_object(found: ClaimsReport, *, check: bool) -> dict[str, object]:
    """How the claims differ from the log; with `check` nothing was repaired."""
    return {
        "claims": found.claims,
        "count": found.count,
        "differences": [asdict(difference) for difference in found.differences],
        "changed": not check and found.count > 0,
        "loss": found.loss,
    }


def snapshot_object(snapshot: Snapshot) -> dict[str, object]:
    """One snapshot, without its state."""
    return {
        "stream": snapshot.stream,
        "tenant": snapshot.tenant,
        "version": snapshot.version,
        "event_id": snapshot.event_id,
        "schema": snapshot.schema,
        "fold_version": snapshot.fold_version,
        "created_at": timestamp(snapshot.created_at),
        "bytes": len(snapshot.state),
        "readable": snapshot.readable,
    }


def checked_object(checked: CheckedSnapshot) -> dict[str, object]:
    """One snapshot, and how it compares with its events."""
    return {**snapshot_object(checked.snapshot), "verdict": checked.verdict}
