"""A backup in the place of the store it was made of."""

from __future__ import annotations

from pathlib import Path

from eskit.errors import InvalidArgument
from eskit.store.maintenance import RestoreReport
from eskit.store.open import file_mode, sqlite_path
from eskit.store.progress import ReportProgress, no_progress


def restore(
    backup: Path, url: str, *, dry_run: bool = False, progress: ReportProgress = no_progress
) -> RestoreReport:
    """Put a copy of `backup` in the place of the store at `url`, which is kept beside it.

    The copy is checked, and has a store id of its own, so that whoever follows the log notices.
    With `dry_run` nothing is changed, and the store id is that of the backup. Raises
    StoreUnavailable for a store that somebody has open, StoreDamaged and SchemaOutdated for a
    backup that cannot be used.
    """
    if not url.startswith("sqlite:"):
        raise InvalidArgument(
            f"{url} has no file that a backup could replace",
            hint="Only stores in a file are restored.",
        )
    from eskit.store.sqlite.replacing import replace_file

    return replace_file(
        backup,
        sqlite_path(url),
        url,
        dry_run=dry_run,
        file_mode=file_mode(url),
        progress=progress,
    )
