"""``eskit deadletter``: events that were not handled, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from eskit.cli.dead_letters import UndecidedEvent, find_waiting, list_entries
from eskit.cli.groups import examples, make_app
from eskit.cli.options import By, DryRun, Reason, Yes, operator
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span, ago, failure_lines
from eskit.reports.dead_letters import DeadLetterEntry

app = make_app("Events that were not handled, and what to do about them.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A projection, a reaction or another subscription.")
]
Event = Annotated[str, typer.Argument(metavar="EVENT", help="The position of an event, or its id.")]


@app.command("list", **examples("eskit deadletter list", "eskit deadletter list welcome --json"))
def list_dead_letters(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Only of this projection or subscription.")
    ] = "",
) -> None:
    """List the events that wait for a decision, and those that were skipped.

    An event has failed, waits behind a failed one of its stream (waiting), or is the one before
    which a projection or its rebuild stopped (stopped). eskit keeps those of reactions with the
    log, and those of subscriptions of other programs with the log or in NATS.
    """
    session = session_of(context)
    entries, problems = list_entries(session, name)
    session.output.result(
        [dict(entry.data) for entry in entries],
        format_entries(entries, datetime.now(UTC), partly=bool(problems)),
        diagnostics=problems,
        cut=True,
    )


@app.command("show", **examples("eskit deadletter show account-balance 4711"))
def show(context: typer.Context, name: Name, event: Event) -> None:
    """Show why an event was not handled: its error and traceback, and what to do next."""
    session = session_of(context)
    with find_waiting(session, name, event) as letter:
        session.output.result(letter.entry.detail, format_entry(letter.entry))


@app.command(
    "retry",
    **examples("eskit deadletter retry account-balance 4711 --reason 'mended' --yes"),
)
def retry(
    context: typer.Context,
    name: Name,
    event: Event,
    reason: Reason,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Handle a failed event, then the events of its stream that wait behind it.

    eskit handles it now: after later events of other streams, and in a subscription also after
    later events of its own stream.
    """
    session = session_of(context)
    with find_waiting(session, name, event, retry=True) as letter:
        question = f"Handle {letter.entry.text} in {name}"
        if not _is_wanted(session, question, letter, dry_run=dry_run, yes=yes):
            return
        outcome = letter.retry(reason=reason, by=operator(by))
    session.output.result(outcome.data, outcome.lines)


@app.command(
    "skip",
    **examples("eskit deadletter skip account-balance 4711 --reason 'test data' --yes"),
)
def skip(
    context: typer.Context,
    name: Name,
    event: Event,
    reason: Reason,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Skip an event for good in a projection or subscription, also in every rebuild.

    The event is a dead letter, or the one before which a projection stopped.
    """
    session = session_of(context)
    with find_waiting(session, name, event) as letter:
        question = f"Never handle {letter.entry.text} in {name}"
        if not _is_wanted(session, question, letter, dry_run=dry_run, yes=yes):
            return
        outcome = letter.skip(reason=reason, by=operator(by))
    session.output.result(outcome.data, outcome.lines)


def _is_wanted(
    session: Session, question: str, letter: UndecidedEvent, *, dry_run: bool, yes: bool
) -> bool:
    """Whether to continue: not in a dry run, and only after a yes."""
    if dry_run:
        remark = f"{question}: a dry run, nothing done"
        session.output.result(dict(letter.entry.data), [remark])
        return False
    if not yes:
        session.output.confirm(f"{question}?")
    return True


_STYLES = {"waiting": "warning", "skipped": "dim"}


def format_entries(
    entries: Sequence[DeadLetterEntry], now: datetime, *, partly: bool
) -> Iterator[Line]:
    """An event a line, what may be cut off last; `partly`: not everything could be looked at."""
    if not entries:
        yield "No dead letters of projections" if partly else "No dead letters"
        return
    rows: list[tuple[Span, ...]] = [
        (
            (entry.follower, "name"),
            (entry.state, _STYLES.get(entry.state, "error")),
            f"{entry.position:,}",
            entry.stream,
            (ago(entry.at, now), "dim"),
            entry.note if entry.state == "skipped" else (entry.note, "error"),
            (entry.event_type, "dim"),
        )
        for entry in entries
    ]
    yield from columns(rows, right=[2])


def format_entry(entry: DeadLetterEntry) -> Iterator[Line]:
    """One event with its traceback, and the commands to run next."""
    yield [(entry.follower, "name"), f"  {entry.state}  {entry.text}"]
    yield f"  event id  {entry.event_id}"
    if entry.attempts:
        yield f"  attempts  {entry.attempts:,}"
    yield from failure_lines(entry.traceback, entry.note)
    yield ["  see it     ", (f"eskit stream read {entry.stream}", "command")]
    if entry.again:
        yield ["  try again  ", (f"eskit {entry.again}", "command")]
    give_up = f"eskit deadletter skip {entry.follower} {entry.position} --reason '…'"
    yield ["  give up    ", (give_up, "command")]
