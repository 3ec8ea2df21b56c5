"""The projections of a project, over its store or over the stream that a relay made of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.session import Session

if TYPE_CHECKING:
    from eskit.projections.engine import ProjectionEngine


class Source(StrEnum):
    """Where events are read from."""

    AUTO = "auto"
    NATS = "nats"
    STORE = "store"


From = Annotated[
    Source, typer.Option("--source", help="By default the store if there is one, else NATS.")
]
"""Where projections get their events from."""


def reads_store(session: Session, source: Source = Source.AUTO) -> bool:
    """Whether projections get their events from the store."""
    if source is Source.AUTO:
        return session.store_exists() or session.find_nats() is None
    return source is Source.STORE


@contextmanager
def open_engine(
    session: Session, source: Source = Source.AUTO, *, create: bool = False
) -> Iterator[ProjectionEngine]:
    """The projections over the source that was chosen.

    `create` makes a store that is missing, unless there are read models already: they are of
    another log.
    """
    if reads_store(session, source):
        with session.open_app(create=create and not _has_read_models(session)) as running:
            yield running.engine
        return
    from eskit.messaging.log_nats import JetStreamLog
    from eskit.projections.engine import ProjectionEngine

    app, project = session.load_app(), session.project
    with JetStreamLog(
        session.nats_url, login=session.nats_login, settle=session.settle_names
    ) as log:
        engine = ProjectionEngine(
            log,
            app.projections,
            project.read_models,
            upcasters=app.upcasters,
            slow_after=project.slow_after,
        )
        try:
            yield engine
        finally:
            engine.close()


def _has_read_models(session: Session) -> bool:
    from eskit.postgres.url import is_postgres
    from eskit.projections.opening import list_checkpoints
    from eskit.sqlite.url import find_path

    url = session.project.read_models
    if is_postgres(url):
        return bool(list_checkpoints(url))
    path = find_path(url)
    return path is None or path.exists()
