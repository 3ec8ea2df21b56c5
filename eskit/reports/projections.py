"""Projections: where they are, what was done to them, how their rows compare with the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eskit.errors import Diagnostic, ProjectionFailed
from eskit.reports.envelope import error_object, holder_object, timestamp, timestamp_or_none
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.projections.differences import ProjectionDifference, Row, TableDifference
    from eskit.projections.progress import RebuildEstimate, RunReport
    from eskit.projections.records import Failure
    from eskit.projections.status import ProjectionStatus


def status_object(status: ProjectionStatus, *, detailed: bool = False) -> dict[str, object]:
    """A projection's state, position and lag; `detailed` with tracebacks."""
    return {
        "name": status.name,
        "state": status.state,
        "position": status.position,
        "head": status.head,
        "lag": status.lag,
        "error": status.error or None,
        "behind_seconds": status.behind_seconds,
        "version": status.version,
        "updated_at": timestamp_or_none(status.updated_at),
        "running": status.running,
        **holder_object(status.holder),
        "rate": status.rate,
        "pause": status.pause or None,
        "rebuild_position": status.rebuild_position,
        "set_aside": status.set_aside,
        "skipped": status.skipped,
        "slow": {"call": status.slow, "stack": status.stack} if status.slow else None,
        "failures": [_failure_object(f, detailed=detailed) for f in status.failures],
    }


def _failure_object(failure: Failure, *, detailed: bool) -> dict[str, object]:
    found: dict[str, object] = {
        "phase": failure.phase,
        "position": failure.position,
        "event_id": failure.event_id,
        "event_type": failure.event_type,
        "stream": failure.stream,
        "error": failure.error,
        "failed_at": timestamp(failure.failed_at),
    }
    return {**found, "traceback": failure.traceback} if detailed else found


def failed_error(failed: Sequence[ProjectionStatus]) -> dict[str, object]:
    """The error of an envelope: which projections failed, or are not well."""
    verb = "failed" if all(status.state == "failed" for status in failed) else "not well"
    return {
        "code": ProjectionFailed.code,
        "message": f"{count(len(failed), 'projection')} {verb}: "
        + ", ".join(status.name for status in failed),
        "hint": f"eskit project status {failed[0].name}",
    }


def find_abandoned(statuses: Sequence[ProjectionStatus]) -> list[Diagnostic]:
    """A warning about those that are behind while no process runs them."""
    abandoned = [status for status in statuses if status.abandoned]
    if not abandoned:
        return []
    names = [status.name for status in abandoned]
    behind = count(sum(status.lag for status in abandoned), "event")
    return [
        Diagnostic(
            severity="warning",
            code="PROJECTION_NOT_RUN",
            message=f"{', '.join(names)}: {behind} behind, and no process runs "
            + ("it" if len(names) == 1 else "them"),
            hint=f"Handle them: eskit project run {' '.join(names)}",
        )
    ]


def run_object(report: RunReport) -> dict[str, object]:
    """What a run or a rebuild did to one projection."""
    return {
        "name": report.name,
        "events": report.events,
        "position": report.position,
        "seconds": report.seconds,
        "set_aside": report.set_aside,
        "skipped": report.skipped,
        "error": report.error.message if report.error else None,
    }


def stopped_error(reports: Sequence[RunReport]) -> dict[str, object] | None:
    """The error of an envelope: why a projection stopped, or which did; None if none did."""
    stopped = [(report.name, report.error) for report in reports if report.error is not None]
    if not stopped:
        return None
    _, first = stopped[0]
    if len(stopped) == 1:
        return error_object(first)
    names = ", ".join(name for name, _ in stopped)
    message = f"{count(len(stopped), 'projection')} stopped: {names}"
    return {**error_object(first), "message": message}


def estimate_object(estimate: RebuildEstimate) -> dict[str, object]:
    """What a rebuild would take."""
    return {
        "name": estimate.name,
        "events": estimate.events,
        "seconds": estimate.seconds,
        "rate": estimate.rate,
        "measured": estimate.measured,
    }


def difference_object(difference: ProjectionDifference) -> dict[str, object]:
    """How the live rows differ from those that the events make."""
    return {
        "name": difference.name,
        "position": difference.position,
        "events": difference.events,
        "equal": difference.equal,
        "passed_over": list(difference.passed_over),
        "tables": [_table_object(table) for table in difference.tables],
    }


def _table_object(table: TableDifference) -> dict[str, object]:
    return {
        "table": table.table,
        "live_rows": table.live_rows,
        "rebuilt_rows": table.rebuilt_rows,
        "differing": table.differing,
        "problem": table.problem or None,
        "examples": [
            {"live": _values(example.live), "rebuilt": _values(example.rebuilt)}
            for example in table.examples
        ],
    }


def _values(row: Row | None) -> dict[str, object] | None:
    """A row for JSON; bytes as hexadecimal text."""
    if row is None:
        return None
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
