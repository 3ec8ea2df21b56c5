"""Bringing a store to the schema of this eskit."""

from __future__ import annotations

from eskit.errors import InvalidArgument
from eskit.store.maintenance import Migration
from eskit.store.open import file_mode, sqlite_path
from eskit.store.progress import ReportProgress, no_progress


def migrate(
    url: str, *, dry_run: bool = False, progress: ReportProgress = no_progress
) -> Migration:
    """Bring the store at `url` to the current schema, with a backup beside it first.

    All steps or none are made. Raises SchemaTooNew for a store of a newer eskit,
    StoreNotRecognised, and StoreUnavailable for a missing or locked file.
    """
    if not url.startswith("sqlite:"):
        raise InvalidArgument(
            f"{url} has no schema to migrate", hint="Only stores in a file have one."
        )
    from eskit.store.sqlite.migrating import migrate_file

    return migrate_file(
        sqlite_path(url), url, dry_run=dry_run, file_mode=file_mode(url), progress=progress
    )
