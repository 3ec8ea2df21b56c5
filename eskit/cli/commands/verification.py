"""What ``eskit store verify`` checks against what, and how its findings are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from eskit.cli.commands.stream import load_types
from eskit.cli.session import Session
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, duration
from eskit.cli.terminal.wrapping import labelled
from eskit.errors import StoreDamaged
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.operations.findings import Finding
    from eskit.operations.verifying import Verification
    from eskit.store.eventstore import EventStore
    from eskit.store.records import Checkpoint

_LABELS = {
    "error": ("damaged", "error"),
    "unknown": ("unknown", "warning"),
    "warning": ("warning", "warning"),
}


def run_verification(session: Session) -> Verification:
    """Verify the store with the project's event types and its read models' checkpoints."""
    from eskit.operations.verifying import find_beyond_opening, verify

    try:
        with session.open_store() as store, session.output.progress() as report:
            load_types(session)
            return verify(
                store,
                checkpoints=read_model_checkpoints(session, store),
                progress=lambda step: report(step.name, step.done, step.total),
            )
    except StoreDamaged as error:
        beyond = find_beyond_opening(error)
        if beyond is None:
            raise
        return beyond


def read_model_checkpoints(session: Session, store: EventStore) -> list[Checkpoint]:
    """Those of the project's read models; none for a store other than the project's own."""
    project = session.find_project()
    if project is None or session.store_option:
        return []
    from eskit.projections.engine import ProjectionEngine

    engine = ProjectionEngine(store, [], project.read_models)
    try:
        return list(engine.checkpoints())
    finally:
        engine.close()


def format_verification(found: Verification) -> Iterator[Line]:
    """What was checked, a part a line; then what was found; then the verdict."""
    yield from columns(
        [
            (
                ("log", "name"),
                f"{count(found.events, 'event')} in {count(found.streams, 'stream')}",
            ),
            (
                ("payloads", "name"),
                _format_payloads(found),
            ),
            *(
                [(("erased", "name"), f"{count(found.erased, 'event')}, by {_erasures(found)}")]
                if found.erased or found.erasures
                else []
            ),
            (("claims", "name"), f"{found.claims:,} held"),
            (("snapshots", "name"), f"{found.snapshots:,}"),
            (("checkpoints", "name"), f"{found.checkpoints:,}"),
        ]
    )
    for finding in found.findings:
        yield from _format_finding(finding)
    if found.found > len(found.findings):
        yield f"and {found.found - len(found.findings):,} more like these"
    style = "ok" if found.verdict == "ok" else "error"
    yield [(found.verdict, style), f" in {duration(found.seconds)}"]


def _format_payloads(found: Verification) -> str:
    parts = [f"{found.decoded:,} decode"]
    if found.by_recorded_schema:
        parts.append(f"{found.by_recorded_schema:,} of them by recorded schemas")
    if found.undecoded:
        parts.append(f"{found.undecoded:,} do not")
    return ", ".join([*parts, count(found.event_types, "type")])


def _erasures(found: Verification) -> str:
    return count(found.erasures, "recorded erasure")


def _format_finding(finding: Finding) -> Iterator[Line]:
    label = _LABELS[finding.severity]
    where = f"  at {finding.position:,}" if finding.position else ""
    yield ""
    yield from labelled(label, finding.message, (f"{where}  {finding.stream}", "dim"))
    if finding.hint:
        yield from labelled(" " * len(label[0]), (finding.hint, "hint"))
