"""``eskit schema check``: what changed schemas mean for stored events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from eskit.cli.session import Session
from eskit.cli.terminal.text import Line, Span, count
from eskit.cli.terminal.wrapping import labelled
from eskit.domain.upcasting import UpcasterMissing
from eskit.errors import Diagnostic, EskitError

if TYPE_CHECKING:
    from eskit.domain.upcasting import Upcasters
    from eskit.operations.evolution import Evolution, Finding
    from eskit.schema.changes import Change
    from eskit.store.eventstore import EventStore

_LABEL = 8
_MEANING = {
    "FULL": "old and new code read each other's events",
    "BACKWARD": "new code reads what is stored; old code would misread new events",
    "FORWARD": "stored events would be misread; old code reads new events",
    "BREAKING": "stored events would be misread, and old code would misread new ones",
    "UNKNOWN": "some stored events have no schema to compare",
}
_BUF_RULES = {
    "FIELD_REMOVED": "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED",
    "FIELD_RENAMED": "FIELD_SAME_NAME",
    "FIELD_JSON_NAME_CHANGED": "FIELD_SAME_JSON_NAME",
    "FIELD_NUMBER_CHANGED": "FIELD_NO_DELETE",
    "FIELD_NUMBER_REUSED": "FIELD_SAME_NAME",
    "FIELD_TYPE_CHANGED": "FIELD_WIRE_COMPATIBLE_TYPE",
    "FIELD_TYPE_RENAMED": "FIELD_SAME_TYPE",
    "FIELD_DEFAULT_CHANGED": "FIELD_SAME_DEFAULT",
    "FIELD_ONEOF_CHANGED": "FIELD_SAME_ONEOF",
    "FIELD_REQUIRED": "MESSAGE_SAME_REQUIRED_FIELDS",
    "FIELD_NO_LONGER_REQUIRED": "MESSAGE_SAME_REQUIRED_FIELDS",
    "RESERVED_REMOVED": "RESERVED_MESSAGE_NO_DELETE",
    "ENUM_VALUE_REMOVED": "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED",
    "ENUM_VALUE_RENAMED": "ENUM_VALUE_SAME_NAME",
    "ENUM_VALUE_NUMBER_CHANGED": "ENUM_VALUE_SAME_NAME",
    "ENUM_CLOSED": "ENUM_SAME_TYPE",
    "EVENT_TYPE_REMOVED": "MESSAGE_NO_DELETE",
    "EVENT_TYPE_RENAMED": "MESSAGE_NO_DELETE",
    "PACKAGE_CHANGED": "FILE_SAME_PACKAGE",
    "METHOD_REMOVED": "RPC_NO_DELETE",
    "METHOD_REQUEST_CHANGED": "RPC_SAME_REQUEST_TYPE",
    "METHOD_RESPONSE_CHANGED": "RPC_SAME_RESPONSE_TYPE",
}
"""The rule of `buf breaking` that looks at the same thing, where there is one."""


def run_check(
    session: Session, *, against: str, decode: bool
) -> tuple[Evolution, list[Diagnostic]]:
    """Compare the working protos with the store and with `against`, if there is such."""
    from eskit.codegen.reading.baseline import read_baseline
    from eskit.codegen.reading.parsing import parse_protos
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
    diagnostics += _find_unused_acceptances(found, project.accepted_changes)
    return found, diagnostics


def _find_unused_acceptances(found: Evolution, keys: Sequence[str]) -> Iterator[Diagnostic]:
    """A warning for every key in the settings that accepts nothing."""
    used = {finding.change.key for finding in found.accepted}
    for key in keys:
        if key not in used:
            yield Diagnostic(
                severity="warning",
                code="ACCEPTED_CHANGE_UNUSED",
                message=f"No change has the key {key!r} of schema_accept",
                hint="Remove it, or correct it: eskit schema check --json shows all keys.",
            )


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


def evolution_object(found: Evolution) -> dict[str, object]:
    """What was found, as --json shows it."""
    return {
        "verdict": found.verdict.value,
        "breaking": found.breaking,
        "compared": found.compared,
        "findings": [finding_object(finding) for finding in found.findings],
        "accepted": [finding_object(finding) for finding in found.accepted],
        "additions": [_change_object(change) for change in found.additions],
    }


def finding_object(finding: Finding) -> dict[str, object]:
    """One finding: what changed, what it touches, what to do."""
    change = finding.change
    return {
        "severity": change.severity.value,
        **_change_object(change),
        "buf_rule": _BUF_RULES.get(change.rule),
        "key": change.key,
        "used_by": change.used_by or None,
        "fix": change.fix,
        "backward": None if change.undecided else change.backward,
        "forward": None if change.undecided else change.forward,
        "events": finding.events,
        "first": {"global_position": finding.position, "stream": finding.stream}
        if finding.events
        else None,
    }


def _change_object(change: Change) -> dict[str, object]:
    return {
        "rule": change.rule,
        "event_type": change.event_type,
        "field": change.path,
        "number": change.number,
        "message": change.message,
    }


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


def _format_finding(finding: Finding) -> Iterator[Line]:
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
