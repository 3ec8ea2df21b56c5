"""``eskit store copy``: move a store into another one, and show how far that is."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.interrupts import explain_interrupt
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.text import Line
from eskit.reports.store import abort_object, moved_object
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.operations.copying import AbortReport, CopyReport
    from eskit.store.copies import CopyState
    from eskit.store.reports import Progress


def copy(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FROM", help="URL of the store to copy.")],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="URL of the copy: a new store, or an empty one.")
    ],
    finish: Annotated[
        bool, typer.Option("--finish", help="Make FROM read-only, and TO take its place.")
    ] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Give the copy up: FROM takes appends again.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="TO is gone for good and was never used.")
    ] = False,
) -> None:
    """Move the log into another store while it is in use, with positions and IDs.

    Copies what is new, and compares every event. TO refuses appends until it is finished. Run it
    as often as you like: an interrupted copy resumes. With --finish FROM becomes read-only, and TO
    gets the rest, with the places of relay and reactions. It keeps the store ID, so projections,
    relay and reactions continue. With --abort FROM takes appends again, if TO was not finished.
    """
    from eskit.operations.copying import abort_copy, copy_store

    if finish and abort:
        raise typer.BadParameter("Give --finish or --abort", param_hint="--abort")
    if yes and not abort:
        raise typer.BadParameter("It goes with --abort", param_hint="--yes")
    session = session_of(context)
    source, target = _absolute(session, source), _absolute(session, target)
    if abort:
        given_up = abort_copy(source, target, lost=yes)
        session.output.result(abort_object(given_up), format_abort(given_up))
        return
    with (
        explain_interrupt(lambda: _left(source, target)),
        session.output.progress() as report,
    ):

        def draw(step: Progress) -> None:
            report(step.name, step.done, step.total)

        done = copy_store(source, target, finish=finish, progress=draw)
    session.output.result(moved_object(done), format_copy(done))


def format_copy(report: CopyReport) -> Iterator[Line]:
    """What the copy holds, and what is left to do."""
    place = "in the place of" if report.finished else "the same as in"
    events = f"{count(report.events, 'event')} up to {report.head:,}"
    yield [(report.target, "name"), f"  {events}, {place} {report.source}"]
    yield f"  copied    {count(report.copied, 'event')} now"
    yield f"  store id  {report.store_id}"
    if report.sha256:
        yield f"  sha256    {report.sha256}"
    if report.finished:
        yield f"{report.source} is read-only."
        yield f'Next: set store = "{report.target}", and start the processes again'
    else:
        command = f"eskit store copy {quote(report.source)} {quote(report.target)} --finish"
        yield ["Next: ", (command, "command")]


def format_abort(report: AbortReport) -> Iterator[Line]:
    """Which store takes appends, and what becomes of the other one."""
    again = "takes appends again" if report.opened else "takes appends, as before"
    yield [(report.source, "name"), f" {again}"]
    yield [(report.target, "name"), " refuses appends: remove it, or copy into it again"]


def format_state(state: CopyState) -> Line:
    """What a store is in a copy, as a line of ``eskit store info``."""
    return f"  copy      it {state.text}"


def _absolute(session: Session, url: str) -> str:
    """A SQLite path is relative to the chosen folder, as with --store."""
    from eskit.sqlite.url import absolute_url

    return absolute_url(url, session.directory.resolve())


def _left(source: str, target: str) -> str:
    """What an interrupted copy has left, and how it goes on."""
    from eskit.store.open import open_store

    with open_store(source, create=False) as store:
        state = store.find_copy()
    if state is not None:
        return f"{state.url} is read-only: run the command again, or with --abort"
    from eskit.sqlite.url import without_secrets

    return f"{without_secrets(target)} is kept: run the command again to resume"
