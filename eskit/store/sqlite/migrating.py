"""From an older schema of the file to the current one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from eskit.errors import StoreUnavailable
from eskit.store.maintenance import Migration
from eskit.store.progress import Progress, ReportProgress
from eskit.store.sqlite.backup import back_up
from eskit.store.sqlite.connections import begin_immediate, connect, roll_back
from eskit.store.sqlite.errors import translated
from eskit.store.sqlite.leftovers import check_beside
from eskit.store.sqlite.place import find_status
from eskit.store.sqlite.schema import (
    current_version,
    migration_statements,
    read_store_id,
    read_version,
)

_TIMEOUT = 5.0


def migrate_file(
    path: Path, url: str, *, dry_run: bool, file_mode: int, progress: ReportProgress
) -> Migration:
    """Back the file up and run what is missing, in one transaction."""
    if find_status(path, url) is None:
        raise StoreUnavailable(f"There is no store at {url}", hint="Check the path of the store.")
    check_beside(path, url, timeout=_TIMEOUT)
    with translated(url), closing(connect(path, mode="rw")) as connection:
        before = read_version(connection, url)
        if dry_run or before == current_version():
            return Migration(before=before, after=current_version())
        origin = read_store_id(connection, url)
        backup = _free_name(path, before)
        back_up(
            path,
            backup,
            url=url,
            origin=origin,
            mode="rw",
            file_mode=file_mode,
            progress=progress,
        )
        begin_immediate(connection, url, _TIMEOUT)
        try:
            # Again, now that nobody else can: another process may have been quicker.
            for version in range(read_version(connection, url) + 1, current_version() + 1):
                for statement in migration_statements(version):
                    connection.execute(statement)
                progress(Progress(name="migrate", done=version, total=current_version()))
            connection.execute(f"PRAGMA user_version = {current_version()}")
            connection.execute("COMMIT")
        finally:
            roll_back(connection)
    return Migration(before=before, after=current_version(), backup=backup)


def _free_name(path: Path, version: int) -> Path:
    """``bank.db.v1.backup``, with a number if that is taken."""
    number = 1
    while True:
        mark = "" if number == 1 else f"-{number}"
        name = path.with_name(f"{path.name}.v{version}{mark}.backup")
        if not name.exists():
            return name
        number += 1
