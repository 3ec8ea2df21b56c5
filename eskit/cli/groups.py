"""How commands are declared: groups that load on use, and help that shows examples.

Help is plain text: it reads the same in a pipe, and costs no import of rich.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import typer
from typer.core import TyperCommand, TyperGroup

from eskit.cli.options import coerce_lazily
from eskit.cli.session import Session
from eskit.cli.terminal.errors import UsageError
from eskit.text.suggestions import find_nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

SHARED_OPTIONS: Mapping[str, bool] = {
    "-C": True,
    "--store": True,
    "--nats": True,
    "--json": False,
    "--debug": False,
}
"""Options of every command, before or after its name, and whether they take a value."""

_DIGIT = re.compile(r"-\d")
_MAY_BE_EMPTY = frozenset({"--tenant"})
"""Options to which nothing is a value: streams without a tenant have it so."""


class CommandWithExamples(TyperCommand):
    """A command whose help ends with examples, one per line of its epilog."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options and arguments, none of which is empty."""
        _refuse_empty(self, ctx, args)
        try:
            return super().parse_args(ctx, list(args))
        except UsageError as error:
            option = getattr(error, "option_name", None)  # of what is no option
            if option and _DIGIT.match(option):  # click takes a negative number for one
                number = next((arg for arg in args if arg.startswith(option)), option)
                raise typer.BadParameter(f"{number} is less than 0", ctx=ctx) from error
            raise

    def get_params(self, ctx: Any) -> Any:
        """The parameters, none of which loads pydantic without need."""
        return coerce_lazily(super().get_params(ctx))

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the examples as they are typed."""
        write_examples(formatter, self.epilog or "")
        formatter.write_paragraph()
        formatter.write(
            "Every command also takes -C, --store, --nats, --json, --debug: eskit --help\n"
        )


class StreamingCommand(CommandWithExamples):
    """A command that shows one item after another, with --json a line for each.

    Every line on stdout is an item then, so a failure goes to stderr, that of its own
    arguments as well.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, as a command that streams from now on."""
        session = ctx.find_object(Session)
        if session is not None:
            session.output.streaming = True
        return super().parse_args(ctx, args)


class Examples(TypedDict):
    """What `examples` hands to ``app.command``."""

    cls: type[TyperCommand]
    epilog: str


def examples(*lines: str, streaming: bool = False) -> Examples:
    """The command's examples: ``@app.command("list", **examples("eskit stream list"))``.

    With `streaming` it is one that prints an item a line.
    """
    return {
        "cls": StreamingCommand if streaming else CommandWithExamples,
        "epilog": "\n".join(lines),
    }


def _refuse_empty(command: Any, ctx: Any, args: list[str]) -> None:
    """Wrong usage for a value that is empty, as from a variable that is not set.

    It would count as not given, and the command as meant for something else.
    """
    if ctx.resilient_parsing or "" not in {arg.rpartition("=")[2] for arg in args}:
        return
    typed, *_ = command.make_parser(ctx).parse_args(list(args))
    for parameter in command.get_params(ctx):
        value = typed.get(parameter.name)
        empty = "" in value if isinstance(value, list | tuple) else value == ""
        if empty and not _MAY_BE_EMPTY & set(parameter.opts):
            named = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar
            raise typer.BadParameter(f"{named.strip('[].')} is empty", ctx=ctx)


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split()).partition(". ")[0].removesuffix(".") + "."


def write_examples(formatter: Any, text: str) -> None:
    """Write a section of examples, unwrapped."""
    if text:
        formatter.write_paragraph()
        formatter.write("Examples:\n")
        for line in text.splitlines():
            formatter.write(f"  {line}\n")


def make_app(help_text: str = "") -> typer.Typer:
    """A group of commands, or the holder of a single one."""
    return typer.Typer(
        help=help_text,
        cls=Group,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


class Group(TyperGroup):
    """A group that shows its help when called without a command."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, none of which loads pydantic without need."""
        return coerce_lazily(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the group's own options; nothing at all asks for help."""
        _refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run; for an unknown one name the nearest, and no other."""
        known = self.list_commands(ctx)
        if args[0] not in known:
            ctx.fail(_unknown_command(args[0], known))
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """List the commands, each with the first sentence of its help."""
        rows = [(name, _first_sentence(found.help)) for name, found in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry:
    """A command or group that is imported when it is run."""

    help: str
    panel: str


class LazyGroup(Group):
    """The root: knows its commands from a table, imports the one that is run."""

    table: ClassVar[Mapping[str, CommandEntry]] = {}
    package: ClassVar[str]

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._listing = False

    def list_commands(self, _ctx: Any) -> list[str]:
        """The names in the table, in its order."""
        return list(self.table)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        """The command itself, or only its name and help while commands are listed."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        if self._listing:
            return TyperGroup(name=cmd_name, help=entry.help, rich_markup_mode=None)
        command = typer.main.get_command(import_module(f"{self.package}.{cmd_name}").app)
        command.name = cmd_name
        return command

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the shared options wherever they stand."""
        return super().parse_args(ctx, shared_options_first(args))

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete names from the table."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        """List the commands by panel."""
        for panel, entries in groupby(self.table.items(), lambda item: item[1].panel):
            with formatter.section(panel):
                formatter.write_dl([(name, entry.help) for name, entry in entries])

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the examples as they are typed."""
        write_examples(formatter, self.epilog or "")


def shared_options_first(args: Sequence[str]) -> list[str]:
    """`args` with the shared options in front; what follows ``--`` stays where it is."""
    shared: list[str] = []
    rest: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            return [*shared, *rest, arg, *waiting]
        name = arg.partition("=")[0]
        if name not in SHARED_OPTIONS:
            rest.append(arg)
            continue
        shared.append(arg)
        if SHARED_OPTIONS[name] and name == arg:
            shared.extend(_take_one(waiting))
    return [*shared, *rest]


def _take_one(waiting: Iterable[str]) -> list[str]:
    for arg in waiting:
        return [arg]
    return []


def _unknown_command(name: str, known: Sequence[str]) -> str:
    nearest = find_nearest(name, known)
    return f"No command {name!r}." + (f" Did you mean {nearest!r}?" if nearest else "")
