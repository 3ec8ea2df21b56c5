"""Migrations of a read model: ordered ``.sql`` files, each applied once.

sqlite-utils has migrations too. They are Python functions in any order, without checksums, and
cost 80 ms of imports on every command; an edited or missing one goes unnoticed. Hence these.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eskit.errors import MigrationInvalid, RebuildNeeded
from eskit.projections.projection import Projection
from eskit.projections.records import START, AppliedMigration, ProjectionState

_NEEDS_HISTORY = re.compile(r"^--\s*eskit:\s*rebuild\s*$", re.MULTILINE)
_FILE = re.compile(r"(\d+)_(\w[\w-]*)\.sql\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file: ``0002_add_owner.sql`` has number 2.

    `needs_history`: a line ``-- eskit: rebuild`` says that rows made before it are not right.
    """

    number: int
    name: str
    sql: str
    checksum: str
    needs_history: bool


def load_migrations(projection: Projection) -> tuple[Migration, ...]:
    """The migrations of a projection in order; none if it declares no folder.

    Raises MigrationInvalid for a missing folder, a file name without a number, and numbers that
    repeat or leave a gap.
    """
    folder = projection.migrations
    if folder is None:
        return ()
    if not folder.is_dir():
        raise MigrationInvalid(
            f"Projection {projection.name!r} has no migrations folder {folder}",
            hint="The folder is relative to the module that makes the projection.",
        )
    migrations = sorted(
        (_load(file, projection) for file in folder.iterdir() if file.suffix == ".sql"),
        key=lambda migration: migration.number,
    )
    for expected, migration in enumerate(migrations, start=1):
        if migration.number != expected:
            raise MigrationInvalid(
                f"Migrations of projection {projection.name!r} in {folder} should continue with "
                f"number {expected}, but the next is {migration.name}",
                hint="Number migrations from 1, without gaps or duplicates.",
            )
    return tuple(migrations)


def find_pending(
    projection: Projection,
    migrations: Sequence[Migration],
    applied: Sequence[AppliedMigration],
    state: ProjectionState | None,
) -> Sequence[Migration]:
    """What is still to be applied; MigrationInvalid if an applied one was edited or is gone.

    Raises RebuildNeeded if there are rows, and one of the pending migrations needs history.
    """
    rebuild = f"or rebuild: eskit project rebuild {projection.name}"
    if len(applied) > len(migrations):
        raise MigrationInvalid(
            f"Migration {applied[len(migrations)].name} of projection {projection.name!r} was "
            "applied, but its file is gone",
            hint=f"Put the file back, {rebuild}",
        )
    for found, migration in zip(applied, migrations, strict=False):
        if (found.checksum, found.name) != (migration.checksum, migration.name):
            raise MigrationInvalid(
                f"Migration {found.name} of projection {projection.name!r} was edited after it was "
                "applied",
                hint=f"Restore it and write migration {len(migrations) + 1} instead, {rebuild}",
            )
    pending = migrations[len(applied) :]
    for migration in pending:
        if migration.needs_history and state is not None and state.checkpoint != START:
            raise RebuildNeeded(
                f"Migration {migration.name} of projection {projection.name!r} needs the events "
                "that its rows were made from",
                hint=f"Rebuild them: eskit project rebuild {projection.name}",
            )
    return pending


def _load(file: Path, projection: Projection) -> Migration:
    match = _FILE.match(file.name)
    if not match:
        raise MigrationInvalid(
            f"Projection {projection.name!r} has {file}, which is not named like a migration",
            hint="Name it <number>_<what it does>.sql, such as 0002_add_owner_name.sql.",
        )
    # A checkout may have changed the line ends; the statements are the same.
    sql = file.read_text(encoding="utf-8").replace("\r\n", "\n")
    return Migration(
        number=int(match[1]),
        name=file.stem,
        sql=sql,
        checksum=hashlib.sha256(sql.encode()).hexdigest(),
        needs_history=_NEEDS_HISTORY.search(sql) is not None,
    )
