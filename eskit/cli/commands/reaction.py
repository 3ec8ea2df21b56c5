"""``eskit reaction``: where reactions stand, and pausing, resuming and resetting them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import stop_on_signal
from eskit.cli.options import By, DryRun, Reason, Yes, operator
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FAILED
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span, duration
from eskit.cli.terminal.wrapping import labelled
from eskit.clock import SYSTEM_CLOCK
from eskit.errors import NotFound
from eskit.reports.envelope import timestamp
from eskit.reports.reactions import failed_error, reset_object, status_object
from eskit.text.quantities import count
from eskit.text.suggestions import suggestion

if TYPE_CHECKING:
    from eskit.messaging.followers import FollowerStatus, Reset
    from eskit.messaging.subscription import Subscription

app = make_app("Show, pause and reset reactions.")

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Reactions; without names all.", show_default=False),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A reaction.")]


@app.command("list", **examples("eskit reaction list", "eskit reaction list --json"))
def list_reactions(context: typer.Context) -> None:
    """List the app's reactions, their state and how far each is."""
    session = session_of(context)
    statuses = load_statuses(session, None)
    session.output.result(
        [status_object(status) for status in statuses], format_statuses(statuses), cut=True
    )


@app.command(
    "status",
    **examples(
        "eskit reaction status", "eskit reaction status welcome", "eskit reaction status --watch"
    ),
)
def status(
    context: typer.Context,
    names: Names = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh the display until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How often, with --watch.")
    ] = 1.0,
) -> None:
    """Show state, position and lag of reactions; exit 1 when one has failed.

    A reaction has failed if it cannot continue, tries an event again, has dead letters, or its
    handler hangs. Lag counts its unhandled events. Needed counts commands that eskit keeps beyond
    their time to live, because the reaction may send them again.
    """
    session = session_of(context)
    if watch:
        _watch(session, names, every)
        return
    statuses = load_statuses(session, names)
    data = [status_object(each) for each in statuses]
    failed = [each for each in statuses if each.error]
    if not failed:
        session.output.result(data, format_statuses(statuses, detailed=bool(names)), cut=True)
        return
    session.output.failure(
        data,
        [
            *format_statuses(statuses, detailed=bool(names), below=True),
            *format_failed(failed),
        ],
        error=failed_error(failed),
    )
    raise typer.Exit(FAILED)


def _watch(session: Session, names: Sequence[str] | None, every: float) -> None:
    session.output.streaming = True
    with stop_on_signal() as stop, session.output.watching() as show:
        while not stop.is_set():
            statuses = load_statuses(session, names)
            show([status_object(each) for each in statuses], format_statuses(statuses))
            stop.wait(every)


@app.command("pause", **examples("eskit reaction pause welcome --reason 'wrong amounts'"))
def pause(context: typer.Context, name: Name, reason: Reason, by: By = "") -> None:
    """Keep a reaction where it is until it is resumed, also over restarts.

    The process that runs it finishes the current event.
    """
    from eskit.messaging import followers

    session = session_of(context)
    subscription = _find(session, name)
    with session.open_store() as store:
        followers.pause(store, name, reason=reason, by=operator(by), clock=SYSTEM_CLOCK)
        now = followers.load_status(store, subscription)
    session.output.result(status_object(now), [[(name, "name"), f"  paused at {_at(now)}"]])


@app.command("resume", **examples("eskit reaction resume welcome --reason 'amounts corrected'"))
def resume(context: typer.Context, name: Name, reason: Reason, by: By = "") -> None:
    """Resume a paused reaction; the process that runs it notices automatically."""
    from eskit.messaging import followers

    session = session_of(context)
    subscription = _find(session, name)
    with session.open_store() as store:
        followers.resume(store, name, reason=reason, by=operator(by), clock=SYSTEM_CLOCK)
        now = followers.load_status(store, subscription)
    resumed = f"  resumed at {_at(now)}, {count(now.lag, 'event')} behind"
    session.output.result(status_object(now), [[(name, "name"), resumed]])


@app.command(
    "reset",
    **examples(
        "eskit reaction reset welcome --after now --dry-run",
        "eskit reaction reset welcome --after 4711 --yes",
    ),
)
def reset(
    context: typer.Context,
    name: Name,
    after: Annotated[
        str, typer.Option(metavar="POSITION|now", help="The last event to count as handled.")
    ],
    again: Annotated[
        bool,
        typer.Option("--again", help="Allow commands that the store has forgotten to run twice."),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Set the position after which a reaction resumes: look with --dry-run first.

    The reaction handles the events in between again, or never. A command that it sent for one of
    them does not run twice while the store remembers its id; if the store has forgotten one, add
    --again.
    """
    from eskit.messaging import followers

    session = session_of(context)
    subscription = _find(session, name)
    with session.open_store() as store:
        place = store.head_position() if after == "now" else _position(after)
        planned = followers.plan_reset(store, subscription, place)
        if not dry_run:
            if not again:
                followers.check_forgotten(planned)
            if not yes:
                session.output.confirm(f"{describe_reset(planned)}. Do it?")
            planned = followers.reset(store, subscription, place, again=again)
    session.output.result(
        reset_object(planned, done=not dry_run), format_reset(planned, done=not dry_run)
    )


def load_statuses(session: Session, names: Sequence[str] | None) -> list[FollowerStatus]:
    """The status of reactions, in the app's order."""
    from eskit.messaging import followers
    from eskit.operations.pruning import prune_commands

    subscriptions = [_find(session, name) for name in names or _known(session)]
    if not subscriptions:
        return []
    with session.open_store() as store:
        needed = prune_commands(store, dry_run=True).needed
        return [followers.load_status(store, each, needed=needed) for each in subscriptions]


def _known(session: Session) -> list[str]:
    return [reaction.name for reaction in session.load_app().reactions]


def _find(session: Session, name: str) -> Subscription:
    loaded = session.load_app()
    for reaction in loaded.reactions:
        if reaction.name == name:
            return reaction.subscription(loaded.upcasters)
    raise NotFound(f"No reaction {name!r}", hint=suggestion(name, _known(session), "Reactions"))


def _position(text: str) -> int:
    digits = text.replace(",", "")
    if not (digits.isascii() and digits.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a position nor now", param_hint="--after")
    return int(digits)


def _at(status: FollowerStatus) -> str:
    return f"{status.position:,}" if status.position is not None else "its start"


_STATE_STYLES = {"failed": "error", "paused": "warning", "running": "ok"}
_HEADING = (
    *("", "state", "position", "head", "lag", "oldest"),
    *("retry", "dead letters", "holder", "last error"),
)
_NUMBERS = {*_HEADING[2:-1]}


def format_statuses(
    statuses: Sequence[FollowerStatus], *, detailed: bool = False, below: bool = False
) -> Iterator[Line]:
    """A reaction a line, below a heading; without the columns that have nothing to say.

    With `below` errors are left out: what follows shows them in full.
    """
    if not statuses:
        yield "No reactions in this app"
        return
    rows: list[tuple[Span, ...]] = [
        (
            (status.name, "name"),
            (status.state, _STATE_STYLES.get(status.state, "")),
            f"{status.position:,}" if status.position is not None else "",
            f"{status.head:,}",
            f"{status.lag:,}",
            duration(status.oldest_seconds) if status.lag else "",
            _number(len(status.waiting)),
            _number(status.set_aside),
            status.holder.name if status.holder else "",
            "" if status.error and below else _remark(status),
        )
        for status in statuses
    ]
    shown = [column for column in zip(_HEADING, *rows, strict=True) if any(map(_says, column[1:]))]
    right = [number for number, (name, *_) in enumerate(shown) if name in _NUMBERS]
    heading, *lines = zip(*shown, strict=True)
    last = len(heading) - 1 if heading[-1] == _HEADING[-1] else None
    yield from columns([[(name, "dim") for name in heading], *lines], right=right, cut=last)
    for status in statuses:
        if status.needed:
            kept = f"  {count(status.needed, 'command')} kept beyond their time to live for it"
            yield [(status.name, "name"), kept]
        if detailed:
            for attempt in (*status.in_flight, *status.waiting):
                doing = "in flight since " + timestamp(attempt.since) if attempt.since else "waits"
                tried = f", tried {count(attempt.attempts, 'time')}" if attempt.attempts else ""
                yield f"  {attempt.position:,}  {doing}{tried}"
            if status.trouble and not status.error:  # in the table it may be cut off
                yield from labelled("last error", status.trouble)


def _number(number: int) -> str:
    return f"{number:,}" if number else ""


def _says(cell: Span) -> bool:
    return bool(cell if isinstance(cell, str) else cell[0])


def _remark(status: FollowerStatus) -> Span:
    if status.error:
        return status.error.partition("\n")[0], "error"
    if status.pause:
        return f"paused: {status.pause}"
    return status.trouble.partition("\n")[0], "warning"


def format_failed(failed: Sequence[FollowerStatus]) -> Iterator[Line]:
    """For each reaction that failed what happened, and the commands to run next."""
    for status in failed:
        yield ""
        yield from labelled((status.name, "name"), status.error)
        if status.set_aside:
            yield ["  see which  ", (f"eskit deadletter list {status.name}", "command")]
        elif status.waiting:
            yield "  tries again by itself, with the code that its process has loaded"
        elif not status.in_flight:
            reset = f"eskit reaction reset {status.name} --after POSITION|now --dry-run"
            yield ["  resume     ", (reset, "command")]


def describe_reset(reset: Reset) -> str:
    """What a reset does, in a line."""
    before = f"{reset.before:,}" if reset.before is not None else "an unknown place"
    effect = "no event is reacted to again or skipped"
    if reset.again:
        effect = f"{count(reset.again, 'event')} reacted to again"
    elif reset.skipped:
        effect = f"{count(reset.skipped, 'event')} never reacted to"
    line = f"{reset.name} from {before} to {reset.after:,}: {effect}"
    if reset.forgotten:
        line += f"; {count(reset.forgotten, 'command')} forgotten, and carried out twice"
    return line


def format_reset(reset: Reset, *, done: bool) -> Iterator[Line]:
    """The same, and whether it was done."""
    yield describe_reset(reset)
    if not done:
        yield "A dry run: nothing was changed"
