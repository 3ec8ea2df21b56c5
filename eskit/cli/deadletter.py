"""``eskit deadletter``: events that projections did not handle, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.deciding import By, DryRun, Reason, Yes, decider
from eskit.cli.session import session_of
from eskit.cli.text import Line, ago, columns, count, timestamp

if TYPE_CHECKING:
    from eskit.projections.letters import Letter, Skip

app = make_app("Events that projections did not handle, and what to do about them.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A projection.")]
Event = Annotated[str, typer.Argument(metavar="EVENT", help="The position of an event, or its id.")]


@app.command(
    "list", **examples("eskit deadletter list", "eskit deadletter list account-balance --json")
)
def list_letters(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this projection.")] = "",
) -> None:
    """List the events that wait for a decision, and those that are skipped by one.

    An event is set aside (failed), behind one of its stream (waiting), or the one before which a
    projection or its rebuild stands (stopped).
    """
    session = session_of(context)
    loaded = session.load_app()
    names = [loaded.projection(name).name] if name else [p.name for p in loaded.projections]
    with session.open_app(create=False) as running:
        letters = [found for each in names for found in running.engine.dead_letters(each)]
        skips = [found for each in names for found in running.engine.skips(each)]
    data = [*map(letter_object, letters), *map(skip_object, skips)]
    session.output.result(data, format_letters(letters, skips, datetime.now(UTC)), cut=True)


@app.command("show", **examples("eskit deadletter show account-balance 4711"))
def show(context: typer.Context, name: Name, event: Event) -> None:
    """Show why an event was not handled: its error and traceback, and what to do next."""
    session = session_of(context)
    checked = session.load_app().projection(name).name
    with session.open_app(create=False) as running:
        letter = running.engine.find_letter(checked, event)
    session.output.result(letter_object(letter, detailed=True), format_letter(letter))


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
    """Handle an event that was set aside, then those of its stream that wait behind it.

    It is handled now: after later events of other streams.
    """
    session = session_of(context)
    checked = session.load_app().projection(name).name
    with session.open_app(create=False) as running:
        letter = running.engine.find_letter(checked, event)
        question = f"Handle {letter.text} in {checked}"
        if dry_run:
            session.output.result(letter_object(letter), [f"{question}: a dry run, nothing done"])
            return
        if not yes:
            session.output.confirm(f"{question}?")
        done = running.engine.retry_letter(letter, reason=reason, by=decider(by))
    told = f"  {count(done.handled, 'event')} handled, {done.left:,} still set aside"
    session.output.result(asdict(done), [[(checked, "name"), told]])


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
    """Decide that a projection never handles an event, also in no rebuild.

    Takes one that was set aside, or the one before which the projection stopped.
    """
    session = session_of(context)
    checked = session.load_app().projection(name).name
    with session.open_app(create=False) as running:
        letter = running.engine.find_letter(checked, event)
        question = f"Never handle {letter.text} in {checked}"
        if dry_run:
            session.output.result(letter_object(letter), [f"{question}: a dry run, nothing done"])
            return
        if not yes:
            session.output.confirm(f"{question}?")
        decided = running.engine.skip_event(letter, reason=reason, by=decider(by))
        left = running.engine.dead_letters(checked)
    lines: list[Line] = [[(checked, "name"), f"  skips {decided.text}"]]
    behind = next((found for found in left if found.state == "waiting"), None)
    if letter.state == "stopped":
        lines.append(["Go on: ", (f"eskit project run {checked}", "command")])
    elif behind is not None:
        command = f"eskit deadletter retry {checked} {behind.position}"
        lines.append(["Handle what waits behind it: ", (command, "command")])
    session.output.result(skip_object(decided), lines)


def letter_object(letter: Letter, *, detailed: bool = False) -> dict[str, object]:
    """An event that waits for a decision as --json shows it."""
    found = {**asdict(letter), "since": timestamp(letter.since)}
    if not detailed:
        del found["traceback"]
    return found


def skip_object(skip: Skip) -> dict[str, object]:
    """A decision to skip as --json shows it."""
    return {**asdict(skip), "state": "skipped", "decided_at": timestamp(skip.decided_at)}


def format_letters(
    letters: Sequence[Letter], skips: Sequence[Skip], now: datetime
) -> Iterator[Line]:
    """An event a line: what waits first, then what is skipped."""
    if not letters and not skips:
        yield "No dead letters"
        return
    waiting = [
        (
            (found.projection, "name"),
            (found.state, "error" if found.state != "waiting" else "warning"),
            f"{found.position:,}",
            found.event_type,
            found.stream,
            (ago(found.since, now), "dim"),
            (found.error, "error"),
        )
        for found in letters
    ]
    skipped = [
        (
            (found.projection, "name"),
            ("skipped", "dim"),
            f"{found.position:,}",
            found.event_type,
            found.stream,
            (ago(found.decided_at, now), "dim"),
            f"{found.decided_by}: {found.reason}",
        )
        for found in skips
    ]
    yield from columns([*waiting, *skipped], right=[2])


def format_letter(letter: Letter) -> Iterator[Line]:
    """One event with its traceback, and the commands to run next."""
    yield [(letter.projection, "name"), f"  {letter.state}  {letter.text}"]
    yield f"  event id  {letter.event_id}"
    if letter.attempts:
        yield f"  attempts  {letter.attempts:,}"
    yield from (f"  {line}" for line in letter.traceback.splitlines())
    if letter.error:
        yield ["  ", (letter.error, "error")]
    which = f"{letter.projection} {letter.position}"
    yield ["  see it     ", (f"eskit stream read {letter.stream}", "command")]
    again = f"deadletter retry {which} --reason '…'"
    if letter.state == "stopped":
        again = f"project run --once {letter.projection}"
    yield ["  try again  ", (f"eskit {again}", "command")]
    yield ["  give up    ", (f"eskit deadletter skip {which} --reason '…'", "command")]
