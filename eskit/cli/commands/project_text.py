"""What commands about projections show: states, failures, differences and work done."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span, duration, failure_lines
from eskit.cli.terminal.wrapping import Hanging, labelled
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.errors import EskitError
    from eskit.processes.holding import Holder
    from eskit.projections.differences import ProjectionDifference, Row, TableDifference
    from eskit.projections.progress import RebuildEstimate, RunReport
    from eskit.projections.records import Failure
    from eskit.projections.status import ProjectionStatus


_STATE_STYLES = {"failed": "error", "rebuilding": "warning", "paused": "warning", "running": "ok"}
_HEADING = (
    *("", "state", "position", "head", "lag", "behind"),
    *("rate", "holder", "code", "last error"),
)
_NUMBERS = {"position", "head", "lag", "behind", "rate", "holder"}


def format_statuses(
    statuses: Sequence[ProjectionStatus], *, below: Container[str] = ()
) -> Iterator[Line]:
    """A projection a line, below a heading; without the columns that have nothing to say.

    Not with the errors of the projections in `below`: what follows shows them in full.
    """
    if not statuses:
        yield "No projections in this app"
        return
    rows = [
        (
            (status.name, "name"),
            (status.state, _STATE_STYLES.get(status.state, "")),
            f"{status.position:,}",
            f"{status.head:,}",
            f"{status.lag:,}",
            duration(status.behind_seconds),
            f"{status.rate:,.0f}/s" if status.holder else "",
            status.holder.name if status.holder else "",
            f"v{status.version}",
            (_remark(status, below), "error" if status.error else ""),
        )
        for status in statuses
    ]
    shown = [column for column in zip(_HEADING, *rows, strict=True) if any(map(_says, column[1:]))]
    right = [number for number, (name, *_) in enumerate(shown) if name in _NUMBERS]
    heading, *lines = zip(*shown, strict=True)
    last = len(heading) - 1 if heading[-1] == _HEADING[-1] else None
    yield from columns([[(name, "dim") for name in heading], *lines], right=right, cut=last)


def _says(cell: Span) -> bool:
    return bool(cell if isinstance(cell, str) else cell[0])


def format_watched(statuses: Sequence[ProjectionStatus]) -> Iterator[Line]:
    """The same, and below it in full why one has stopped."""
    failed = [status for status in statuses if status.error]
    yield from format_statuses(statuses, below=[status.name for status in failed])
    if failed:
        yield ""
    for status in failed:
        yield from labelled((status.name, "name"), (status.error.partition("\n")[0], "error"))


def _remark(status: ProjectionStatus, below: Container[str]) -> str:
    """The error in short, how far a rebuild has come, or that no process runs it."""
    if status.error:
        error = status.failures[0].error if status.failures else status.error
        return "" if status.name in below else error.partition("\n")[0]
    if status.pause:
        return f"paused: {status.pause}"
    if status.rebuild_position is not None:
        return f"rebuilt up to {status.rebuild_position:,}"
    if status.failures:
        return f"rebuild stopped before {status.failures[0].position:,}"
    return "no process runs it" if status.abandoned else ""


def format_problems(statuses: Sequence[ProjectionStatus], *, detailed: bool) -> Iterator[Line]:
    """For each projection that is not well what happened, and the commands to run next."""
    for status in statuses:
        if not status.error and not status.failures:
            continue
        yield ""
        if status.error and all(failure.phase == "rebuild" for failure in status.failures):
            yield from labelled((status.name, "name"), status.error)
            if detailed and status.stack:
                yield from failure_lines(status.stack, "")
            if status.hint:
                yield ["  ", (status.hint, "hint")]
        for failure in status.failures:
            yield from _format_stopped(status, failure, detailed=detailed)


def _format_stopped(
    status: ProjectionStatus, failure: Failure, *, detailed: bool
) -> Iterator[Line]:
    yield from format_failure(failure, detailed=detailed)
    if not detailed:
        yield ["  see why    ", (f"eskit project status {status.name}", "command")]
    if status.pause:
        yield from labelled("  paused   ", status.pause)
        resume = f"eskit project resume {status.name} --reason '…'"
        yield ["  resume     ", (resume, "command")]
    if failure.phase == "retry" and status.running:
        yield "  tries again by itself"
        return
    again = "rebuild" if failure.phase == "rebuild" else "run --once"
    yield ["  try again  ", (f"eskit project {again} {status.name}", "command")]


def format_failure(failure: Failure, *, detailed: bool) -> Iterator[Line]:
    """The event that stopped a projection; with `detailed` the error and its traceback."""
    what = "rebuild stopped" if failure.phase == "rebuild" else "stopped"
    where = f"{what} before {failure.position:,} {failure.event_type} of {failure.stream}"
    yield Hanging([(failure.projection, "name"), f" {where}"], indent=2)
    if detailed:
        yield from failure_lines(failure.traceback, failure.error)
        event = f"eskit deadletter show {failure.projection} {failure.position}"
        yield ["  the event  ", (event, "command")]


def format_waiting(error: EskitError | None) -> Iterator[Line]:
    """Why projections wait, or that they have resumed."""
    if error is None:
        yield [("resumed", "ok"), "  the dependency is available again"]
        return
    yield from labelled(("waiting", "warning"), error.message)
    if error.hint:
        yield from labelled(" " * len("waiting"), (error.hint, "hint"))


def format_reports(
    reports: Sequence[RunReport],
    *,
    undone: bool = False,
    holders: Mapping[str, Holder] = MappingProxyType({}),
) -> Iterator[Line]:
    """What was done to each projection, or which process runs it instead."""
    yield from columns(
        [
            (
                (report.name, "name"),
                count(report.events, "event"),
                f"position {report.position:,}",
                duration(report.seconds),
                _rate(report),
                ("stopped", "error") if report.error else "",
                (count(report.set_aside, "dead letter"), "error") if report.set_aside else "",
                f"{report.skipped:,} skipped" if report.skipped else "",
                f"{holders[report.name].text} runs it" if report.name in holders else "",
            )
            for report in reports
        ],
        right=[1, 3, 4],
    )
    if undone:
        yield "A dry run: nothing of it was kept"


def _rate(report: RunReport) -> str:
    return f"{report.events / report.seconds:,.0f}/s" if report.events and report.seconds else ""


def format_estimates(estimates: Sequence[RebuildEstimate]) -> Iterator[Line]:
    """How much each rebuild has to do."""
    for estimate in estimates:
        work = f"  would handle {count(estimate.events, 'event')}"
        if estimate.events:
            work += (
                f" in about {duration(estimate.seconds)}: {estimate.rate:,.0f}/s over the first "
                f"{estimate.measured:,}"
            )
        yield [(estimate.name, "name"), work]


def format_difference(difference: ProjectionDifference) -> Iterator[Line]:
    """The answer first, then table by table the rows that differ."""
    verdict = ("equal", "ok") if difference.equal else ("different", "error")
    yield [
        (difference.name, "name"),
        "  ",
        verdict,
        f"  at {difference.position:,}, {count(difference.events, 'event')} handled again",
    ]
    if difference.passed_over:
        positions = ", ".join(f"{position:,}" for position in difference.passed_over)
        which = ("eskit deadletter list", "command")
        yield Hanging([f"  without {positions}, skipped or dead letters: ", which], indent=2)
    for table in difference.tables:
        yield from _format_table(table)
    if not difference.equal:
        yield ["Rebuild the rows: ", (f"eskit project rebuild {difference.name}", "command")]


def _format_table(table: TableDifference) -> Iterator[Line]:
    if table.problem:
        yield ["  ", (table.table, "key"), f"  {table.problem}"]
        return
    yield [
        "  ",
        (table.table, "key"),
        f"  {count(table.live_rows, 'row')}",
        f", {count(table.differing, 'difference')}" if table.differing else "",
    ]
    for example in table.examples:
        if example.live is not None:
            yield ["    is         ", (_row_text(example.live), "old")]
        if example.rebuilt is not None:
            yield ["    should be  ", (_row_text(example.rebuilt), "new")]
        if example.live is None:
            yield "               and is missing"
        if example.rebuilt is None:
            yield "               and should not be there"
    if table.differing > len(table.examples):
        yield f"    and {table.differing - len(table.examples):,} more"


def _row_text(row: Row) -> str:
    return "  ".join(f"{name}={value!r}" for name, value in row.items())
