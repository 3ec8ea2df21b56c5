"""Events, and the steps of an aggregate's history."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from eskit.reports.envelope import timestamp

if TYPE_CHECKING:
    from eskit.domain.events import Metadata, RecordedEvent
    from eskit.reports.payloads import Payload
    from eskit.store.replay import ReplayStep

_STEP = ("version", "global_position", "event_type", "recorded_at", "data")
"""What a step and an event have in common."""


def event_object(event: RecordedEvent, payload: Payload) -> dict[str, object]:
    """One event; its bytes where they could not be read."""
    row = event.row  # events are shown by the ten thousand: this saves a call for each of them
    found: dict[str, object] = {
        "global_position": row.global_position,
        "stream": row.stream,
        "version": row.version,
        "event_id": event.event_id,
        "event_type": row.event_type,
        "recorded_at": timestamp(event.recorded_at),
        "tenant": row.tenant,
        "metadata": metadata_object(event.metadata),
    }
    if payload.problem is None:
        found["data"] = payload.data
        return found
    diagnostic = {
        "severity": "warning",
        "code": payload.problem.code,
        "message": payload.problem.message,
        "hint": payload.problem.hint,
    }
    data = base64.b64encode(event.data).decode("ascii")
    return {**found, "data_base64": data, "diagnostics": [diagnostic]}


def metadata_object(metadata: Metadata) -> dict[str, object]:
    """Metadata with every key, set or not."""
    return {
        "correlation_id": metadata.correlation_id,
        "causation_id": metadata.causation_id,
        "command_id": metadata.command_id,
        "principal_id": metadata.principal_id,
        "custom": dict(metadata.custom),
    }


def stateless_object(event: RecordedEvent, payload: Payload) -> dict[str, object]:
    """An event as a step whose state is not known."""
    shown = event_object(event, payload)
    names = (*_STEP, "data_base64", "diagnostics")
    return {
        **{name: shown[name] for name in names if name in shown},
        "state": None,
        "changes": [],
    }


def step_object(step: ReplayStep) -> dict[str, object]:
    """An event, what it changed, and the state after it."""
    return {
        "version": step.version,
        "global_position": step.event.global_position,
        "event_type": step.event.event_type,
        "recorded_at": timestamp(step.event.recorded_at),
        "data": _data_of(step),
        "state": step.state,
        "changes": [
            {"path": change.path, "old": change.old, "new": change.new} for change in step.changes
        ],
    }


def _data_of(step: ReplayStep) -> object:
    from eskit.schema.jsonmap import to_dict

    return None if step.event.erased else to_dict(step.event.message)
