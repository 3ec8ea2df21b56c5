"""The store: what is in it, whether it is whole, and what was copied from or into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from eskit.errors import Diagnostic
from eskit.reports.envelope import timestamp_or_none

if TYPE_CHECKING:
    from eskit.operations.copying import AbortReport, CopyReport
    from eskit.operations.exporting import ExportReport
    from eskit.operations.importing import ImportReport
    from eskit.operations.verifying import Verification
    from eskit.store.eventstore import StoreInfo
    from eskit.store.reports import BackupReport, MigrationReport, PrunedCommands, RestoreReport


def info_object(info: StoreInfo) -> dict[str, object]:
    """A store at a glance."""
    return {
        **asdict(info),
        "first_recorded_at": timestamp_or_none(info.first_recorded_at),
        "last_recorded_at": timestamp_or_none(info.last_recorded_at),
    }


def find_open_files(paths: Iterable[Path], *, file_mode: int) -> Iterator[Diagnostic]:
    """Files, and their companions, that more people can read than `file_mode` lets."""
    from eskit.files.atomic import companions_of
    from eskit.files.modes import mode_of

    for path in paths:
        for file in (path, *companions_of(path)):
            mode = mode_of(file, file_mode)
            if mode & ~file_mode & 0o077:
                yield Diagnostic(
                    severity="warning",
                    code="READABLE_BY_OTHERS",
                    message=f"{file} can be read by others: its mode is {mode:04o}",
                    hint=f"Close it: chmod {file_mode:o} {file}. If that is meant, set "
                    f'file_mode = "{mode:04o}".',
                )


def verification_object(
    found: Verification, complete: Callable[[str], str] = str
) -> dict[str, object]:
    """What was checked and found; `complete` makes commands in hints work where they are shown."""
    findings = [{**asdict(one), "hint": complete(one.hint)} for one in found.findings]
    return {**asdict(found), "findings": findings}


def verification_error(found: Verification) -> dict[str, object] | None:
    """The error of an envelope where it cannot be known whether the store is whole."""
    if found.verdict != "unknown":
        return None
    return {
        "code": "VERDICT_UNKNOWN",
        "message": "The store could not be fully verified",
        "hint": found.findings[0].hint,
    }


def copy_object(report: ExportReport | BackupReport) -> dict[str, object]:
    """What was written to a file."""
    return {**asdict(report), "path": str(report.path)}


def import_object(report: ImportReport) -> dict[str, object]:
    """What was read from an export."""
    return asdict(report)


def moved_object(report: CopyReport) -> dict[str, object]:
    """What was copied into another store, and whether that took its place."""
    return asdict(report)


def abort_object(report: AbortReport) -> dict[str, object]:
    """A copy that was given up."""
    return asdict(report)


def restore_object(report: RestoreReport, *, done: bool) -> dict[str, object]:
    """What is, or with `done` false would be, in the place of the store, and what was there."""
    replaced = report.replaced
    return {
        **asdict(report),
        "replaced": None if replaced is None else {**asdict(replaced), "path": str(replaced.path)},
        "changed": done,
    }


def pruned_object(pruned: PrunedCommands, *, dry_run: bool) -> dict[str, object]:
    """Which remembered commands were forgotten, and which are still needed."""
    return {
        "commands": pruned.commands,
        "before": timestamp_or_none(pruned.before),
        "needed": dict(pruned.needed),
        "dry_run": dry_run,
    }


def migration_object(migration: MigrationReport, *, dry_run: bool) -> dict[str, object]:
    """From which schema version to which, and where the backup is."""
    backup = str(migration.backup) if migration.backup else None
    return {**asdict(migration), "backup": backup, "dry_run": dry_run}
