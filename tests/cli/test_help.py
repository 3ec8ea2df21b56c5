from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from eskit.cli.main import Root, app


def all_commands():
    """Every command that does something, with the words that call it."""
    root = typer.main.get_command(app)
    with root.make_context("eskit", ["stream", "list"]) as context:
        for name in root.list_commands(context):
            command = root.get_command(context, name)
            children = getattr(command, "commands", None)
            if children is None:
                yield name, command
            else:
                yield from ((f"{name} {child}", c) for child, c in children.items())


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_shows_itself_in_an_example(name):
    command = COMMANDS[name]

    assert command.help
    assert command.help.split("\n")[0].endswith(".")
    assert f"eskit {name}" in command.epilog


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_and_option_is_explained(name):
    unexplained = [
        parameter.name for parameter in COMMANDS[name].params if not getattr(parameter, "help", "")
    ]

    assert unexplained == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_examples_unwrapped(cli, name):
    ran = cli(*name.split(), "--help")

    assert ran.code == 0
    for line in COMMANDS[name].epilog.splitlines():
        assert f"  {line}\n" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_help_lists_every_command_without_importing_any():
    script = (
        "import sys; from eskit.cli.main import main; main(['--help']);"
        "heavy = {'rich', 'nats', 'sqlite3', 'copier', 'grpc_tools', 'google.protobuf', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stderr.strip() == "[]"
    for name, entry in Root.table.items():
        assert f"  {name} " in ran.stdout
        assert entry.help in ran.stdout


@pytest.mark.parametrize("group", ["project", "store", "stream", "checkpoint"])
def test_a_group_says_what_each_command_does_to_the_end_of_the_sentence(cli, group):
    lines = cli(group, "--help").out.partition("Commands:\n")[2].splitlines()

    assert lines
    assert not [line for line in lines if line.endswith("...")]
    assert lines[-1].endswith(".")


def test_no_arguments_at_all_show_the_help(cli):
    ran = cli()

    assert ran.code == 0
    assert ran.out.startswith("Usage: eskit")
    assert cli("stream").out.startswith("Usage: eskit stream")


def test_python_m_eskit_is_eskit():
    ran = subprocess.run(
        [sys.executable, "-m", "eskit", "--version"], capture_output=True, text=True, check=True
    )

    assert ran.stdout.startswith("eskit ")
