"""``eskit store``: create and inspect the event store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.store_copy import copy, format_state
from eskit.cli.commands.store_roles import roles
from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import explain_interrupt
from eskit.cli.options import DryRun, Yes
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FAILED, FOUND
from eskit.cli.terminal.progress import ProgressReporter
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, ago
from eskit.reports.envelope import timestamp_or_none
from eskit.reports.store import (
    copy_object,
    find_open_files,
    import_object,
    info_object,
    migration_object,
    pruned_object,
    restore_object,
    verification_error,
    verification_object,
)
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.operations.exporting import ExportReport
    from eskit.operations.importing import ImportReport
    from eskit.store.eventstore import StoreInfo
    from eskit.store.reports import (
        BackupReport,
        MigrationReport,
        Progress,
        ReplacedStore,
        RestoreReport,
    )


def _check_new_file(file: Path) -> Path:
    if str(file) == "-":
        raise typer.BadParameter("Name a file: standard output is not supported")
    return file


def _check_file(file: Path) -> Path:
    if str(file) == "-":
        raise typer.BadParameter("Name a file: standard input is not supported")
    return file


NewFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="Where to; must not exist.", callback=_check_new_file)
]
"""A file that a command makes."""

app = make_app("Create, check, copy and move the event store.")


@app.command("init", **examples("eskit store init", "eskit store init --store sqlite:///copy.db"))
def init(context: typer.Context) -> None:
    """Create the event store, or check the existing one.

    An existing store stays as it is. Other commands that write create a missing store.
    """
    session = session_of(context)
    with session.open_store(create=True) as store:
        info = store.info()
    session.output.result(info_object(info), format_info(info, datetime.now(UTC)))


@app.command("info", **examples("eskit store info", "eskit store info --json"))
def info(context: typer.Context) -> None:
    """Show what the store holds, its size, schema version and settings.

    Warns of files with events or rows that other users of the machine can read.
    """
    session = session_of(context)
    with session.open_store() as store:
        found = store.info()
    session.output.result(
        info_object(found),
        format_info(found, datetime.now(UTC)),
        diagnostics=list(find_open_files(_files(session), file_mode=session.file_mode)),
    )


@app.command("verify", **examples("eskit store verify", "eskit store verify --json"))
def verify(context: typer.Context) -> None:
    """Check the store for damage: file, log, payloads, claims and checkpoints.

    Exits with 0 if it is sound, 3 if it is damaged, and 1 if eskit cannot tell, because it cannot
    read a part or has no message class for an event type. Writers continue meanwhile.
    """
    from eskit.cli.commands.verification import format_verification, run_verification

    session = session_of(context)
    found = run_verification(session)
    data = verification_object(found, session.output.hints.complete)
    lines = format_verification(found)
    if error := verification_error(found):
        session.output.failure(data, lines, error=error)
        raise typer.Exit(FAILED)
    session.output.result(data, lines, found=found.verdict == "damaged")
    if found.verdict == "damaged":
        raise typer.Exit(FOUND)


@app.command(
    "export",
    **examples(
        "eskit store export bank.jsonl",
        "eskit store export one.jsonl --stream Account-acc-001",
    ),
)
def export(
    context: typer.Context,
    file: NewFile,
    stream: Annotated[
        list[str] | None,
        typer.Option(metavar="STREAM", help="Only this stream; may be repeated."),
    ] = None,
    tenant: Annotated[
        str, typer.Option(metavar="NAME", help="The tenant of the streams.", show_default=False)
    ] = "",
) -> None:
    """Write the log as JSON Lines, with counts and a checksum at its end.

    eskit exports the log as it is at the start, with remembered commands, without checkpoints and
    snapshots. An interrupted export resumes. eskit refuses a damaged log.
    """
    from eskit.operations.exporting import export_log

    if tenant and not stream:
        raise typer.BadParameter("A tenant goes with --stream", param_hint="--tenant")
    session = session_of(context)
    with (
        explain_interrupt(lambda: _kept(file)),
        session.open_store() as store,
        session.output.progress() as report,
    ):
        done = export_log(
            store.for_tenant(tenant) if stream else store,
            file,
            streams=stream or (),
            progress=drawn(report),
            file_mode=session.file_mode,
        )
    session.output.result(copy_object(done), format_export(done))


@app.command(
    "import",
    **examples("eskit store import bank.jsonl --store sqlite:///copy.db"),
)
def import_(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="What store export wrote.", callback=_check_file),
    ],
) -> None:
    """Create a store from an export, with the same positions, versions, IDs and times.

    The store must not exist, or must be empty. A new store gets its name when it is complete and
    its checksum agrees. An interrupted import resumes.
    """
    from eskit.operations.importing import import_log
    from eskit.store.open import locate

    session = session_of(context)
    with (
        explain_interrupt(lambda: _kept(locate(session.store_url).file)),
        session.output.progress() as report,
    ):
        done = import_log(file, session.store_url, progress=drawn(report))
    session.output.result(import_object(done), format_import(done))


@app.command("backup", **examples("eskit store backup bank-monday.db"))
def backup(
    context: typer.Context,
    file: NewFile,
) -> None:
    """Copy the store into a new file while others write, and check the copy.

    eskit refuses a damaged store. The copy has its own store ID, so projections and the relay
    notice when it replaces the original. To replace the original, use eskit store restore.
    """
    from eskit.operations.files import back_up

    session = session_of(context)
    with (
        explain_interrupt(lambda: f"There is no {file}: begin again"),
        session.open_store() as store,
        session.output.progress() as report,
    ):
        done = back_up(store, file, progress=drawn(report))
    session.output.result(copy_object(done), format_backup(done))


@app.command(
    "restore",
    **examples("eskit store restore monday.db --dry-run", "eskit store restore monday.db"),
)
def restore(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file made by store backup.", callback=_check_file),
    ],
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Replace the store with a backup, and keep the old store beside it.

    Stop the processes that use the store first. eskit puts a checked copy of the backup in place,
    with its own store id, so that projections and relay notice that the log may have lost events
    they have seen. The files that SQLite left beside the old store move with it.
    """
    from eskit.operations.files import restore as restore_backup

    session = session_of(context)
    url = session.store_url
    planned = restore_backup(file, url, dry_run=True)
    if dry_run:
        lines = [*format_restore(planned, file, dry_run=True), "A dry run: nothing was changed"]
        session.output.result(restore_object(planned, done=False), lines)
        return
    if planned.replaced is not None and not yes:
        session.output.confirm(f"{_lost_by(planned)}. Restore {file}?")
    with (
        explain_interrupt(lambda: "Nothing was restored: run the command again"),
        session.output.progress() as report,
    ):
        done = restore_backup(file, url, progress=drawn(report))
    session.output.result(
        restore_object(done, done=True),
        [*format_restore(done, file, dry_run=False), *_next_after_restore(session)],
    )


app.command(
    "copy",
    **examples(
        "eskit store copy sqlite:///bank.db postgresql://db.example.com/bank",
        "eskit store copy sqlite:///bank.db postgresql://db.example.com/bank --finish",
        "eskit store copy sqlite:///bank.db postgresql://db.example.com/bank --abort",
    ),
)(copy)


@app.command("prune", **examples("eskit store prune --dry-run", "eskit store prune"))
def prune(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be forgotten, change nothing.")
    ] = False,
) -> None:
    """Forget commands older than their time to live; resent later, they run again.

    Commands that a reaction may send again stay until it has passed their events. A long period
    without commands, for example after a corrected clock, counts as at most a seventh of the time
    to live.
    """
    from eskit.operations.pruning import prune_commands

    session = session_of(context)
    with session.open_store() as store:
        pruned = prune_commands(store, dry_run=dry_run)
    before = timestamp_or_none(pruned.before)
    verb = "would be forgotten" if dry_run else "forgotten"
    since = f", recorded before {before}" if before else ": none is old enough"
    lines: list[Line] = [f"{count(pruned.commands, 'command')} {verb}{since}"]
    for name, needed in sorted(pruned.needed.items()):
        lines.append([(name, "name"), f"  still needs {count(needed, 'command')} of that age"])
    session.output.result(pruned_object(pruned, dry_run=dry_run), lines)


@app.command("migrate", **examples("eskit store migrate --dry-run", "eskit store migrate"))
def migrate(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, change nothing.")
    ] = False,
) -> None:
    """Migrate a store of an older eskit to the current schema, after a backup beside it."""
    from eskit.operations.files import migrate as migrate_store

    session = session_of(context)
    with session.output.progress() as report:
        done = migrate_store(
            session.store_url,
            dry_run=dry_run,
            progress=drawn(report),
        )
    session.output.result(
        migration_object(done, dry_run=dry_run), format_migration(done, dry_run=dry_run)
    )


app.command(
    "roles",
    **examples("eskit store roles", "eskit store roles --writer app --reader reports | psql bank"),
)(roles)


def _kept(file: Path | None) -> str:
    """What is left of a file that was not finished; without a file nothing is."""
    partial = file.with_name(f"{file.name}.partial") if file is not None else None
    if partial is None or not partial.exists():
        return "Nothing was written: run the command again"
    return f"{partial} is kept: run the command again to resume"


def _files(session: Session) -> list[Path]:
    """The files that hold events or rows of the session's project."""
    from eskit.sqlite.url import find_path

    project = session.find_project()
    urls = [session.store_url, *([project.read_models] if project else [])]
    return [path for path in map(find_path, urls) if path is not None]


def drawn(report: ProgressReporter) -> Callable[[Progress], None]:
    """Hand the progress of an operation to what draws it."""
    return lambda step: report(step.name, step.done, step.total)


def format_export(report: ExportReport) -> Iterator[Line]:
    """What the export wrote, and the position after which it resumed."""
    yield [(str(report.path), "name"), f"  {count(report.events, 'event')} up to {report.head:,}"]
    if report.resumed_after:
        yield f"  went on after  {report.resumed_after:,}"
    yield f"  sha256  {report.sha256}"


def format_import(report: ImportReport) -> Iterator[Line]:
    """What was brought in, and the new identity of the log."""
    yield [(report.url, "name"), f"  {count(report.events, 'event')} up to {report.head:,}"]
    if report.resumed_after:
        yield f"  went on after  {report.resumed_after:,}"
    yield f"  store id       {report.store_id}"
    yield f"  exported from  {report.origin}"


def format_backup(report: BackupReport) -> Iterator[Line]:
    """What was copied and checked, and the identity of the copy."""
    yield [
        (str(report.path), "name"),
        f"  {count(report.events, 'event')} up to {report.head:,}, {report.bytes:,} bytes, checked",
    ]
    yield f"  store id  {report.store_id}"
    yield f"  copy of   {report.origin}"


def format_restore(report: RestoreReport, file: Path, *, dry_run: bool) -> Iterator[Line]:
    """What is in the place of the store now, and where the store is that was there."""
    verb = "would be restored" if dry_run else "restored"
    found = f"{count(report.events, 'event')} up to {report.head:,}"
    yield [(report.url, "name"), f"  {found}, {verb} from {file}"]
    if not dry_run:
        yield f"  store id  {report.store_id}"
    yield f"  copy of   {report.origin}"
    if report.replaced is not None:
        yield f"  replaced  {report.replaced.path}  {_what_was_there(report.replaced)}"


def _what_was_there(replaced: ReplacedStore) -> str:
    if replaced.events is None or replaced.head is None:
        return "cannot be read"
    return f"{count(replaced.events, 'event')} up to {replaced.head:,}"


def _lost_by(report: RestoreReport) -> str:
    there = report.replaced
    if there is None or there.head is None:
        return f"The store cannot be read, the backup has {count(report.events, 'event')}"
    lost = max((there.events or 0) - report.events, 0)
    return (
        f"The store ends at {there.head:,}, the backup at {report.head:,}: "
        f"{count(lost, 'event')} fewer"
    )


def _next_after_restore(session: Session) -> Iterator[Line]:
    """What follows the log is of another store now."""
    if session.names_app():
        yield "Next: eskit checkpoint repair"
        yield "      eskit relay --republish, if events were published"


def format_migration(migration: MigrationReport, *, dry_run: bool) -> Iterator[Line]:
    """From which version to which, and where the backup is."""
    if not migration.needed:
        yield f"Nothing to migrate: the schema version is {migration.after}"
        return
    verb = "would be migrated" if dry_run else "migrated"
    yield f"Schema {verb} from version {migration.before} to {migration.after}"
    if migration.backup is not None:
        yield f"  backup  {migration.backup}"


def format_info(info: StoreInfo, now: datetime) -> Iterator[Line]:
    """One fact a line, the place first."""
    yield [(info.url, "name")]
    yield from columns(
        [
            ("  events", f"{info.events:,}"),
            ("  streams", f"{info.streams:,}"),
            ("  head", f"{info.head:,}"),
            ("  claims", f"{info.claims:,}"),
            ("  commands", f"{info.commands:,}"),
            ("  snapshots", f"{info.snapshots:,}"),
            ("  erasures", f"{info.erasures:,}"),
            ("  bytes", f"{info.bytes:,}"),
            ("  schema", str(info.schema_version)),
        ],
        right=[1],
    )
    if info.first_recorded_at and info.last_recorded_at:
        yield f"  first event  {ago(info.first_recorded_at, now)}"
        yield f"  last event   {ago(info.last_recorded_at, now)}"
    yield f"  store id  {info.store_id}"
    if info.copy is not None:
        yield format_state(info.copy)
    for name, value in info.settings.items():
        yield f"  {name}={value:g}" if isinstance(value, float) else f"  {name}={value}"
