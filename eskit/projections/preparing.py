"""Check whether a projection can continue with its rows, and create its tables if it can."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from eskit.projections import bookkeeping
from eskit.projections.checkpoints import check_version
from eskit.projections.migrations import find_pending, load_migrations
from eskit.projections.port import ReadModel, Records
from eskit.projections.projection import Projection
from eskit.projections.records import START, AppliedMigration, ProjectionState


def check(kept: Records, projection: Projection[Any]) -> None:
    """Raise RebuildNeeded or MigrationInvalid if the code does not fit the existing rows."""
    state = bookkeeping.find_state(kept, projection.name)
    if state is not None:
        check_version(state, projection)
        applied = bookkeeping.find_migrations(kept, projection.name)
        find_pending(projection, load_migrations(projection), applied, state)


def prepare(
    model: ReadModel[Any], projection: Projection[Any], *, store_id: str, now: datetime
) -> ProjectionState:
    """Make the projection's tables as its migrations say, and remember it.

    Raises MigrationInvalid, and RebuildNeeded when the rows are another version's.
    """
    name = projection.name
    migrations = load_migrations(projection)
    state = bookkeeping.find_state(model, name)
    if state is not None:
        check_version(state, projection)
        pending = find_pending(
            projection, migrations, bookkeeping.find_migrations(model, name), state
        )
        if not pending and state.version == projection.version:
            return state
    with model.transaction():
        state = bookkeeping.find_state(model, name)
        if state is not None:
            check_version(state, projection)
        applied = bookkeeping.find_migrations(model, name)
        pending = find_pending(projection, migrations, applied, state)
        model.migrate(name, pending)
        for migration in pending:
            bookkeeping.save_migration(
                model,
                AppliedMigration(
                    projection=name,
                    number=migration.number,
                    name=migration.name,
                    checksum=migration.checksum,
                    applied_at=now,
                ),
            )
        if state is None:
            state = ProjectionState(
                name=name,
                version=projection.version,
                store_id=store_id,
                checkpoint=START,
                updated_at=now,
                has_exceptions=bookkeeping.has_exceptions(model, name),
            )
        elif state.checkpoint == START:
            state = replace(state, version=projection.version, store_id=store_id, updated_at=now)
        bookkeeping.save_state(model, state)
    return state
