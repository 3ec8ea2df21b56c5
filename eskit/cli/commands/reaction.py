"""``eskit reaction``: where reactions stand, and pausing, resuming and resetting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.reaction_text import (
    describe_reset,
    format_failed,
    format_reset,
    format_statuses,
    reset_object,
    status_object,
)
from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import stop_on_signal
from eskit.cli.operator import By, DryRun, Reason, Yes, decider
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FAILED
from eskit.cli.terminal.text import count
from eskit.clock import SYSTEM_CLOCK
from eskit.errors import NotFound
from eskit.text.suggestions import suggestion

if TYPE_CHECKING:
    from eskit.messaging.followers import FollowerStatus
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

    Failed is one that cannot go on, that tries an event again or has set one aside, or whose
    handler hangs. Lag counts the events that it handles and has not handled yet; needed are the
    commands that are kept beyond their time to live, because it would send them again.
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
        [*format_statuses(statuses, detailed=bool(names)), *format_failed(failed)],
        error={
            "code": "REACTION_FAILED",
            "message": f"{count(len(failed), 'reaction')} failed: "
            + ", ".join(each.name for each in failed),
            "hint": f"eskit reaction status {failed[0].name}",
        },
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

    Whoever runs it now finishes what it is handling.
    """
    from eskit.messaging import followers

    session = session_of(context)
    subscription = _find(session, name)
    with session.open_store() as store:
        followers.pause(store, name, reason=reason, by=decider(by), clock=SYSTEM_CLOCK)
        now = followers.load_status(store, subscription)
    session.output.result(status_object(now), [[(name, "name"), f"  paused at {_at(now)}"]])


@app.command("resume", **examples("eskit reaction resume welcome"))
def resume(context: typer.Context, name: Name) -> None:
    """Resume a paused reaction; the process that runs it notices automatically."""
    from eskit.messaging import followers

    session = session_of(context)
    subscription = _find(session, name)
    with session.open_store() as store:
        followers.resume(store, name)
        now = followers.load_status(store, subscription)
    told = f"  resumed at {_at(now)}, {count(now.lag, 'event')} behind"
    session.output.result(status_object(now), [[(name, "name"), told]])


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

    subscriptions = [_find(session, name) for name in names or _known(session)]
    if not subscriptions:
        return []
    with session.open_store() as store:
        needed = store.maintenance.prune_commands(dry_run=True).needed
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
