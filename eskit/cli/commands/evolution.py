"""``eskit schema check``: what changed schemas mean for stored events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from eskit.cli.session import Session
from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.wrapping import labelled
from eskit.domain.upcasting import UpcasterMissing
from eskit.errors import Diagnostic, EskitError
from eskit.reports.schema import find_unused_acceptances
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.domain.upcasting import Upcasters
    from eskit.operations.evolution import Evolution, EvolutionFinding
    from eskit.store.eventstore import EventStore

_LABEL = 8
_MEANING = {
    "FULL": "old and new code read each other's events",
    "BACKWARD": "new code reads what is stored; old code would misread new events",
    "FORWARD": "stored events would be misread; old code reads new events",
    "BREAKING": "stored events would be misread, and old code would misread new ones",
    "UNKNOWN": "some stored events have no schema to compare",
}


def run_check(
    session: Session, *, against: str, decode: bool
) -> tuple[Evolution, list[Diagnostic]]:
    """Compare the working protos with the store and with `against`, if there is such."""
    from eskit.codegen.reading.baseline import read_baseline
    from eskit.codegen.reading.protoc import parse_protos
    from eskit.operations.evolution import check_evolution

    project = session.project
    protos = parse_protos(project.proto_paths, exclude=project.exclude).files
    baseline = (
        read_baseline(
            against, root=project.root, proto_roots=project.proto_paths, exclude=project.exclude
        )
        if against
        else None
    )
    diagnostics: list[Diagnostic] = []
    with ExitStack() as stack:
        store = _open_store(session, stack, diagnostics)
        report = stack.enter_context(session.output.progress())
        found = check_evolution(
            protos,
            store=store,
            baseline=baseline,
            upcasters=_find_upcasters(session, diagnostics),
            decode=decode,
            accepted=project.accepted_changes,
            progress=lambda step: report(step.name, step.done, step.total),
        )
    diagnostics += find_unused_acceptances(found, project.accepted_changes)
    return found, diagnostics


def _open_store(
    session: Session, stack: ExitStack, diagnostics: list[Diagnostic]
) -> EventStore | None:
    """The store, if there is one already."""
    if session.store_exists():
        return stack.enter_context(session.open_store())
    diagnostics.append(
        Diagnostic(
            severity="warning",
            code="NO_STORE",
            message=f"There is no store at {session.store_url}: no stored event was looked at",
            hint="Name the store that matters with --store, or a git ref with --against",
        )
    )
    return None


def _find_upcasters(session: Session, diagnostics: list[Diagnostic]) -> Upcasters | None:
    """The app's upcasters; None, and a diagnostic, when the app cannot be loaded.

    An app that lacks one does not start, but says which it has.
    """
    try:
        return session.load_app().upcasters
    except EskitError as error:
        known = error.upcasters if isinstance(error, UpcasterMissing) else None
        what = "The app does not start" if known is not None else "Upcasters were not looked at"
        diagnostics.append(
            Diagnostic(
                severity="warning",
                code=error.code,
                message=f"{what}: {error.message}",
                hint=error.hint,
            )
        )
        return known


def format_evolution(found: Evolution, *, against: str) -> Iterator[Line]:
    """A block for each finding, then the verdict."""
    for finding in found.findings:
        yield from _format_finding(finding)
    removed = sum(finding.change.rule.endswith("_REMOVED") for finding in found.findings)
    meaning = _MEANING[found.verdict.value] if found.compared else "nothing to compare with"
    yield from _labelled(found.verdict.value, "error" if found.breaking else "ok", meaning)
    compared = f"{count(found.compared, 'event type')} compared"
    accepted = f", {len(found.accepted):,} accepted" if found.accepted else ""
    yield from _labelled(
        "",
        "",
        f"{compared}{f', also with {against}' if against else ''}: "
        f"{count(len(found.additions), 'addition')}, {count(removed, 'removal')}{accepted}",
    )


def _labelled(label: str, style: str, *text: Span) -> Iterator[Line]:
    yield from labelled((f"{label:<{_LABEL}}", style), *text)


def _format_finding(finding: EvolutionFinding) -> Iterator[Line]:
    change = finding.change
    severity = "unknown" if change.undecided else change.severity.value
    style = "warning" if severity == "warning" else "error"
    yield from _labelled(severity.upper(), style, (change.subject, "name"), f": {change.message}")
    if change.used_by:
        yield from _labelled("", "", change.used_by)
    elif finding.events:
        first = f"first at {finding.position:,} in {finding.stream}"
        yield from _labelled("", "", f"{count(finding.events, 'stored event')}, {first}")
    else:
        none = f"no stored event{' holds it' if change.path else ' of this type'}"
        yield from _labelled("", "", (none, "dim"))
    if change.fix:
        yield from _labelled("", "", (change.fix, "hint"))
    if severity == "warning":
        yield from _labelled("", "", (f'or accept it: schema_accept = ["{change.key}"]', "hint"))
