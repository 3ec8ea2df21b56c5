"""Operations on what a store is kept in: copies, restoring them, the schema."""

from __future__ import annotations

from pathlib import Path

from eskit.store.eventstore import EventStore
from eskit.store.open import locate
from eskit.store.reports import (
    BackupReport,
    MigrationReport,
    ReportProgress,
    RestoreReport,
    no_progress,
)


def back_up(
    store: EventStore, target: Path, *, progress: ReportProgress = no_progress
) -> BackupReport:
    """Copy the store as it is at one moment into a new file, and check the copy.

    Writers are not held up. The copy has a store id of its own. Raises TargetExists,
    StoreUnavailable, and Unsupported for a store that has no files.
    """
    with store.view() as view:
        return view.backup(target, progress=progress)


def migrate(
    url: str, *, dry_run: bool = False, progress: ReportProgress = no_progress
) -> MigrationReport:
    """Bring the store at `url` to the current schema, with a backup beside it first.

    All steps or none are made. Raises SCHEMA_TOO_NEW for a store of a newer eskit,
    STORE_NOT_RECOGNISED, StoreUnavailable for a missing or locked file, and Unsupported for a store
    that has no schema.
    """
    return locate(url).migrate(dry_run=dry_run, progress=progress)


def restore(
    backup: Path, url: str, *, dry_run: bool = False, progress: ReportProgress = no_progress
) -> RestoreReport:
    """Put a copy of `backup` in the place of the store at `url`, which is kept beside it.

    The copy is checked, and has a store id of its own, so that whoever follows the log notices.
    With `dry_run` nothing is changed, and the store id is that of the backup. Raises
    StoreUnavailable for a store that somebody has open, StoreDamaged and SCHEMA_OUTDATED for a
    backup that cannot be used, and Unsupported for a store that no backup can replace.
    """
    return locate(url).restore(backup, dry_run=dry_run, progress=progress)
