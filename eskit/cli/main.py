"""The command line: its table of commands, the options all of them share, and the way out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from eskit.cli.groups import CommandEntry, LazyGroup, shared_options_first
from eskit.cli.session import Session
from eskit.cli.terminal.errors import FAILED, report
from eskit.cli.terminal.hints import Hints, without_login
from eskit.cli.terminal.output import Output

_START, _STREAMS, _MODELS, _RUN = "Build", "Look", "Read models", "Run"


class Root(LazyGroup):
    """Every command of eskit, each in the module of its name."""

    package = "eskit.cli.commands"

    table: ClassVar[Mapping[str, CommandEntry]] = {
        "new": CommandEntry(help="Start a project, or add to one.", panel=_START),
        "gen": CommandEntry(help="Generate Python from the protos.", panel=_START),
        "schema": CommandEntry(
            help="List schemas, and check changes against stored events.",
            panel=_START,
        ),
        "catalog": CommandEntry(
            help="Show the parts of the service, and how they are connected.",
            panel=_START,
        ),
        "demo": CommandEntry(
            help="See all of it work, in under a minute.",
            panel=_START,
        ),
        "stream": CommandEntry(
            help="List, read and erase event streams.",
            panel=_STREAMS,
        ),
        "replay": CommandEntry(
            help="Show an aggregate's state after each of its events.",
            panel=_STREAMS,
        ),
        "tail": CommandEntry(help="Follow events as they happen.", panel=_STREAMS),
        "store": CommandEntry(
            help="Create, check, copy and move the event store.",
            panel=_STREAMS,
        ),
        "snapshot": CommandEntry(
            help="List, create and check snapshots of aggregates.",
            panel=_STREAMS,
        ),
        "claim": CommandEntry(
            help="List and rebuild claims of unique values.",
            panel=_STREAMS,
        ),
        "project": CommandEntry(
            help="Run, watch and rebuild projections.",
            panel=_MODELS,
        ),
        "reaction": CommandEntry(
            help="Show, pause and reset reactions.",
            panel=_MODELS,
        ),
        "checkpoint": CommandEntry(
            help="How far each follower of the log has come.",
            panel=_MODELS,
        ),
        "deadletter": CommandEntry(
            help="Events that were not handled.",
            panel=_MODELS,
        ),
        "call": CommandEntry(help="Send a command or a query.", panel=_RUN),
        "dev": CommandEntry(
            help="Run everything in one terminal, and show events and calls.",
            panel=_RUN,
        ),
        "serve": CommandEntry(
            help="Run services, relay and projections until Ctrl-C.",
            panel=_RUN,
        ),
        "relay": CommandEntry(help="Publish the log to NATS.", panel=_RUN),
        "nats": CommandEntry(help="Start the embedded NATS server.", panel=_RUN),
    }


app = typer.Typer(
    cls=Root,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="eskit demo\neskit new project shop\neskit -C shop stream list --json",
)


def _show_version(value: bool) -> None:
    if value:
        from eskit import __version__

        typer.echo(f"eskit {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    directory: Annotated[
        str, typer.Option("-C", metavar="DIR", help="The project's folder.", show_default=False)
    ] = ".",
    store: Annotated[str, typer.Option(metavar="URL", help="Use this event store.")] = "",
    nats: Annotated[str, typer.Option(metavar="URL", help="Use this NATS server.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show settings, and tracebacks of failures.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Event sourcing from the command line: schema first, replay everything."""
    output: Output = context.obj or Output(as_json=as_json)
    output.hints = Hints(
        commands=tuple(Root.table),
        folder=("-C", directory) if directory != "." else (),
        stores=(
            *(("--store", without_login(store)) if store else ()),
            *(("--nats", without_login(nats)) if nats else ()),
        ),
    )
    context.obj = Session(
        directory=Path(directory),
        store_option=store,
        nats_option=nats,
        debug=debug,
        output=output,
    )


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    shared = [arg for arg in _before_dashes(shared_options_first(argv)) if arg.startswith("--")]
    output = Output(as_json="--json" in shared)
    command = typer.main.get_command(app)
    try:
        with _parsed(command, argv, output) as context:
            command.invoke(context)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  # the one way out: every error becomes text and an exit code
        return report(error, output, debug="--debug" in shared)
    return 0


def _parsed(command: Any, argv: Sequence[str], output: Output) -> Any:
    """The context of the command line; typer.Exit for an option after which there is no more.

    The options of the shell's completion leave the process when they are done.
    """
    try:
        return command.make_context("eskit", list(argv), obj=output)
    except SystemExit as done:
        raise typer.Exit(done.code if isinstance(done.code, int) else FAILED) from None


def run() -> int:
    """Run the command of this process's arguments and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that cannot show a character gets it escaped, not a traceback.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if os.environ.get("_ESKIT_COMPLETE"):
        typer.main.get_command(app).main(prog_name="eskit")
    return main(sys.argv[1:])


def _before_dashes(args: list[str]) -> list[str]:
    return args[: args.index("--")] if "--" in args else args
