"""Where a store lies, as far as its URL tells: the port of every kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from eskit.clock import Clock
from eskit.store.port import Storage
from eskit.store.reports import MigrationReport, ReportProgress, RestoreReport


class Location(Protocol):
    """A store that may not be there yet. Nothing of it is opened until somebody asks."""

    @property
    def url(self) -> str:
        """The URL it was named with."""
        ...

    @property
    def file(self) -> Path | None:
        """The file that the store is; None for a store that is no file."""
        ...

    @property
    def read_models(self) -> str:
        """The URL of its read models unless another one is named."""
        ...

    def exists(self) -> bool:
        """Whether it can be opened without creating it, as far as that can be told."""
        ...

    def at(self, file: Path) -> str:
        """The URL of the same kind of store, made in the same way, in another file."""
        ...

    def open(self, *, create: bool, clock: Clock) -> Storage:
        """Open it; see `open_store`."""
        ...

    def migrate(self, *, dry_run: bool, progress: ReportProgress) -> MigrationReport:
        """Bring it to the current schema; see `eskit.operations.files.migrate`."""
        ...

    def restore(self, backup: Path, *, dry_run: bool, progress: ReportProgress) -> RestoreReport:
        """Put a backup in its place; see `eskit.operations.files.restore`."""
        ...
