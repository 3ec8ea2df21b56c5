"""Opening read models by their URL."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import InvalidArgument, MissingPackage
from eskit.postgres.url import is_postgres
from eskit.projections import bookkeeping
from eskit.projections.port import ReadModels
from eskit.projections.records import ProjectionState
from eskit.sqlite.url import is_sqlite
from eskit.store.open import find_location
from eskit.store.records import Checkpoint


def open_read_models(url: str, *, clock: Clock = SYSTEM_CLOCK) -> ReadModels[Any]:
    """The read models at ``sqlite:///PATH`` or ``postgresql://``, or ``memory://``.

    Those in memory are kept until they are closed.
    """
    if is_sqlite(url) or url.startswith("memory://"):
        from eskit.projections.sqlite.read_models import SqliteReadModels

        return SqliteReadModels(url, clock=clock)
    if is_postgres(url):
        if find_spec("psycopg") is None:
            raise MissingPackage("PostgreSQL", "psycopg", extra="postgres")
        from eskit.projections.postgres.read_models import PostgresReadModels

        return PostgresReadModels(url, clock=clock)
    raise InvalidArgument(
        f"{url!r} is not the URL of a read model",
        hint="Write sqlite:///bank_read.db, postgresql://HOST/DATABASE, or memory:// for one "
        "that is not kept.",
    )


def default_read_models_url(store_url: str) -> str:
    """Where read models lie by default: ``bank_read.db`` beside ``bank.db``, or in memory.

    For a store in PostgreSQL it is a schema of the same database, ``bank_read`` beside ``bank``.
    """
    location = find_location(store_url)
    return location.read_models if location else "memory://"


def list_checkpoints(url: str) -> list[Checkpoint]:
    """The checkpoints kept at a read-model URL, by name; needs neither app nor store."""
    models = open_read_models(url)
    try:
        return list(map(to_checkpoint, bookkeeping.list_states(models)))
    finally:
        models.close()


def to_checkpoint(state: ProjectionState) -> Checkpoint:
    """The checkpoint of a projection."""
    return Checkpoint(
        name=state.name,
        store_id=state.store_id,
        position=state.checkpoint.position,
        event_id=state.checkpoint.event_id,
        updated_at=state.updated_at,
    )
