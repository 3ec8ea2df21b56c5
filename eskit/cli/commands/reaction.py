"""``eskit reaction``: where reactions and subscriptions are; pausing and resetting them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.followers import find_follower, load_statuses
from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import stop_on_signal
from eskit.cli.options import By, DryRun, Reason, Yes, operator
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FAILED
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span, duration
from eskit.cli.terminal.wrapping import labelled
from eskit.reports.envelope import timestamp
from eskit.reports.reactions import failed_error, find_abandoned, reset_object, status_object
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.messaging.follower_status import FollowerStatus, Reset

app = make_app("Show, pause and reset reactions and subscriptions.")

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Reactions or subscriptions; without names all.",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A reaction or subscription.")]


@app.command("list", **examples("eskit reaction list", "eskit reaction list --json"))
def list_reactions(context: typer.Context) -> None:
    """List reactions and subscriptions, their state and how far each is.

    They are the app's reactions and the subscriptions of other programs, which keep their progress
    with the log or in NATS.
    """
    session = session_of(context)
    statuses, problems = load_statuses(session, ())
    session.output.result(
        [status_object(status) for status in statuses],
        format_statuses(statuses),
        cut=True,
        diagnostics=[*problems, *find_abandoned(statuses)],
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
    """Show state, position and lag of reactions and subscriptions; exit 1 when one has failed.

    It has failed if it cannot continue, tries an event again, has dead letters, or its handler
    hangs. Lag counts its unhandled events; of a subscription in NATS those that the relay has
    published. Needed counts commands that eskit keeps beyond their time to live, because the
    reaction may send them again.
    """
    session = session_of(context)
    if watch:
        _watch(session, names or (), every)
        return
    statuses, problems = load_statuses(session, names or ())
    data = [status_object(each) for each in statuses]
    failed = [each for each in statuses if each.error]
    diagnostics = [*problems, *find_abandoned(statuses)]
    if not failed:
        session.output.result(
            data,
            format_statuses(statuses, detailed=bool(names)),
            cut=True,
            diagnostics=diagnostics,
        )
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


def _watch(session: Session, names: Sequence[str], every: float) -> None:
    session.output.streaming = True
    with stop_on_signal() as stop, session.output.watching() as show:
        while not stop.is_set():
            statuses, problems = load_statuses(session, names)
            lines = [*format_statuses(statuses), *(problem.message for problem in problems)]
            show([status_object(each) for each in statuses], lines)
            stop.wait(every)


@app.command("pause", **examples("eskit reaction pause welcome --reason 'wrong amounts'"))
def pause(context: typer.Context, name: Name, reason: Reason, by: By = "") -> None:
    """Keep a reaction or subscription where it is until it is resumed, also over restarts.

    The process that runs it finishes the current event.
    """
    session = session_of(context)
    with find_follower(session, name) as follower:
        follower.pause(reason=reason, by=operator(by))
        now = follower.status()
    session.output.result(status_object(now), [[(name, "name"), f"  paused at {_at(now)}"]])


@app.command("resume", **examples("eskit reaction resume welcome --reason 'amounts corrected'"))
def resume(context: typer.Context, name: Name, reason: Reason, by: By = "") -> None:
    """Resume a paused reaction or subscription; the process that runs it notices automatically."""
    session = session_of(context)
    with find_follower(session, name) as follower:
        follower.resume(reason=reason, by=operator(by))
        now = follower.status()
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
    """Set where a reaction or subscription resumes, also while it runs: see --dry-run first.

    It handles the events in between again, or never. A command that a reaction sent for one of
    them does not run twice while the store remembers its id; if the store has forgotten one, add
    --again.
    """
    from eskit.messaging.followers import check_forgotten

    session = session_of(context)
    with find_follower(session, name) as follower:
        place = follower.head() if after == "now" else _position(after)
        planned = follower.plan_reset(place)
        if not dry_run:
            if not again:
                check_forgotten(planned)
            if not yes:
                session.output.confirm(f"{describe_reset(planned)}. Do it?")
            planned = follower.reset(place, again=again)
    session.output.result(
        reset_object(planned, done=not dry_run), format_reset(planned, done=not dry_run)
    )


def _position(text: str) -> int:
    digits = text.replace(",", "")
    if not (digits.isascii() and digits.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a position nor now", param_hint="--after")
    return int(digits)


def _at(status: FollowerStatus) -> str:
    return f"{status.position:,}" if status.position is not None else "its start"


_STATE_STYLES = {"failed": "error", "paused": "warning", "running": "ok"}
_HEADING = (
    *("", "kind", "state", "position", "head", "lag", "oldest"),
    *("retry", "dead letters", "holder", "last error"),
)
_NUMBERS = {*_HEADING[3:-1]}


def format_statuses(
    statuses: Sequence[FollowerStatus], *, detailed: bool = False, below: bool = False
) -> Iterator[Line]:
    """A follower a line, below a heading; without the columns that have nothing to say.

    With `below` errors are left out: what follows shows them in full.
    """
    if not statuses:
        yield "No reactions, and no subscriptions"
        return
    mixed = any(status.kind != "reaction" for status in statuses)
    rows: list[tuple[Span, ...]] = [
        (
            (status.name, "name"),
            _kind(status) if mixed else "",
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
    if status.abandoned and not status.trouble:
        return "no process runs it", "warning"
    return status.trouble.partition("\n")[0], "warning"


def _kind(status: FollowerStatus) -> str:
    return f"{status.kind} in NATS" if status.kept_in == "nats" else status.kind


def format_failed(failed: Sequence[FollowerStatus]) -> Iterator[Line]:
    """For each follower that failed what happened, and the commands to run next."""
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
    handled = "reacted to" if reset.kind == "reaction" else "handled"
    effect = f"no event is {handled} again or skipped"
    if reset.again:
        effect = f"{count(reset.again, 'event')} {handled} again"
    elif reset.skipped:
        effect = f"{count(reset.skipped, 'event')} never {handled}"
    line = f"{reset.name} from {before} to {reset.after:,}: {effect}"
    if reset.forgotten:
        line += f"; {count(reset.forgotten, 'command')} forgotten, and carried out twice"
    return line


def format_reset(reset: Reset, *, done: bool) -> Iterator[Line]:
    """The same, and whether it was done."""
    yield describe_reset(reset)
    if not done:
        yield "A dry run: nothing was changed"
