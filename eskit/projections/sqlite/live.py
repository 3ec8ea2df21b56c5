"""The file that queries read, opened for writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eskit.clock import Clock
from eskit.errors import ProjectionFailed
from eskit.files.modes import mode_of
from eskit.projections.port import Purpose
from eskit.projections.sqlite.connection import WriteLock, translated
from eskit.projections.sqlite.read_model import SqliteReadModel
from eskit.projections.sqlite.shadow import SqliteShadowReadModel, shadow_path
from eskit.projections.sqlite.swap import SHADOW, swap_tables
from eskit.sqlite.url import file_uri


class SqliteLiveReadModel(SqliteReadModel):
    """See `eskit.projections.port.LiveReadModel`."""

    def __init__(self, path: Path, *, lock: WriteLock, file_mode: int, clock: Clock) -> None:
        super().__init__(path, lock=lock, file_mode=file_mode)
        self._clock = clock

    def open_shadow(self, name: str, purpose: Purpose) -> SqliteShadowReadModel:
        """A second file with the same table names; the live one is attached read-only."""
        return SqliteShadowReadModel(
            shadow_path(self.path, name, purpose),
            live=self.path,
            file_mode=mode_of(self.path),
            clock=self._clock,
        )

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Delete the second file."""
        path = shadow_path(self.path, name, purpose)
        for suffix in ("", "-wal", "-shm", "-lock", ".writing"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    @contextmanager
    def swapping(self, name: str) -> Iterator[None]:
        """Attach the second file and copy its tables inside one transaction."""
        path = shadow_path(self.path, name, "rebuild")
        with translated(self.path):
            # Read-only: writable, it would have to be locked as well.
            self._connection.execute(f"ATTACH ? AS {SHADOW}", (file_uri(path, mode="ro"),))
        try:
            with translated(path):
                _check_rows(self._connection, name)
            with self.transaction():
                with translated(self.path):
                    swap_tables(self._connection, name)
                yield
        finally:
            with translated(self.path):
                self._connection.execute(f"DETACH {SHADOW}")


def _check_rows(connection: sqlite3.Connection, name: str) -> None:
    """Let SQLite check the foreign keys, declared ones also where they are not enforced."""
    broken = connection.execute(f"PRAGMA {SHADOW}.foreign_key_check").fetchall()
    if broken:
        table, rowid, parent, _ = broken[0]
        raise ProjectionFailed(
            f"The rows built for {name!r} are not consistent: row {rowid} of {table} refers to "
            f"a row of {parent} that is not there, and {len(broken) - 1} more",
            hint="The live rows are untouched. Mend the handlers, then rebuild again.",
        )
