"""``eskit gen``: generate Python from the protos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.session import session_of
from eskit.cli.terminal.errors import FOUND
from eskit.cli.terminal.text import Line
from eskit.reports.generated import checked_object, written_object
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.codegen.generate import GenResult

app = make_app()


@app.command(**examples("eskit gen", "eskit gen --check", "eskit gen --force"))
def gen(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 3 when files are not up to date.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite generated files that were edited.")
    ] = False,
) -> None:
    """Generate messages, aggregate bases, handlers and clients from the project's protos.

    eskit writes only changed files, and removes files that no proto declares.
    """
    from eskit.codegen.generate import generate

    session = session_of(context)
    project = session.project
    result = generate(
        proto_roots=project.proto_paths,
        exclude=project.exclude,
        output=project.gen_path,
        app_name=project.package or project.root.name,
        nats_prefix=project.nats_prefix,
        check=check,
        force=force,
        cache=project.state_dir / "gen.json",
    )
    result = relative(result, project.root)
    folder = os.path.relpath(project.gen_path, project.root)
    if not check:
        session.output.result(
            written_object(result),
            format_written(result, folder),
            diagnostics=result.warnings,
        )
        return
    found = bool(result.missing or result.stale or result.edited)
    session.output.result(
        checked_object(result),
        format_checked(result, folder),
        found=found,
        diagnostics=result.warnings,
    )
    if found:
        raise typer.Exit(FOUND)


def relative(result: GenResult, root: Path) -> GenResult:
    """The result with paths relative to the project's folder."""

    def shown(paths: Iterable[Path]) -> tuple[Path, ...]:
        return tuple(Path(os.path.relpath(path, root)) for path in paths)

    return replace(
        result,
        written=shown(result.written),
        removed=shown(result.removed),
        unchanged=shown(result.unchanged),
        missing=shown(result.missing),
        stale=shown(result.stale),
        edited=shown(result.edited),
    )


def format_written(result: GenResult, folder: str) -> Iterator[Line]:
    """How many files were written, then which."""
    total = len(result.written) + len(result.unchanged)
    if not result.written and not result.removed:
        yield f"{folder} is up to date, {count(total, 'file')}"
        return
    yield [
        (f"{count(len(result.written), 'file')} written", "name"),
        f" in {folder}, {len(result.unchanged):,} unchanged, {len(result.removed):,} removed",
    ]
    yield from _listed("written", result.written)
    yield from _listed("removed", result.removed)


def format_checked(result: GenResult, folder: str) -> Iterator[Line]:
    """Which files are not what the protos say, and what to do about it."""
    wrong = (*result.missing, *result.stale, *result.edited)
    if not wrong:
        yield f"{folder} is up to date"
        return
    yield from _listed("missing", result.missing)
    yield from _listed("stale", result.stale)
    yield from _listed("edited", result.edited)
    command = "eskit gen --force" if result.edited else "eskit gen"
    found = count(len(wrong), "file")
    yield [f"{found} not up to date; regenerate with: ", (command, "command")]


def _listed(what: str, paths: Iterable[Path]) -> Iterator[Line]:
    for path in paths:
        yield [(f"  {what:7}  ", "dim"), str(path)]
