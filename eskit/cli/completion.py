"""Completing the names of methods in the shell."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import typer

from eskit.cli.session import Session
from eskit.cli.terminal.output import Output


def complete_methods(context: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """The methods that begin so, each with its kind; nothing where none can be known.

    From the schemas alone: no user code runs while you type.
    """
    from eskit.cli.commands.methods import methods_of_file, methods_of_schemas

    typed = context.find_root().params
    descriptors = context.params.get("descriptors")
    try:
        with (
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            session = Session(
                directory=Path(typed.get("directory") or "."),
                store_option=typed.get("store") or "",
                output=Output(),
            )
            found = (
                methods_of_file(session.path(descriptors))
                if descriptors
                else methods_of_schemas(session)
            )
    except Exception:  # noqa: BLE001  # a traceback in the middle of a command line helps nobody
        return []
    return [(method.path, method.kind) for method in found.by_name.values()]
