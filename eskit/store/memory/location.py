"""What a ``memory://`` URL says of a store: the name of its log, if it has one."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from eskit.clock import Clock
from eskit.errors import Unsupported
from eskit.store.eventstore import EventStore
from eskit.store.progress import ReportProgress


class MemoryLocation:
    """The Location of a store in memory."""

    read_models = "memory://"
    file = None

    def __init__(self, url: str) -> None:
        self.url = url

    def exists(self) -> bool:
        """It is made whenever it is opened."""
        return True

    def at(self, file: Path) -> NoReturn:
        """Refused: there is no file."""
        raise self._no_file(f"which {file} could stand for")

    def open(self, *, create: bool, clock: Clock) -> EventStore:  # noqa: ARG002 - always there
        """Open the log of that name, or a new one that has none."""
        from eskit.store.memory.log import named_log
        from eskit.store.memory.store import MemoryStore

        name = self.url.removeprefix("memory://")
        return MemoryStore(self.url, log=named_log(name) if name else None, clock=clock)

    def migrate(self, *, dry_run: bool, progress: ReportProgress) -> NoReturn:  # noqa: ARG002
        """Refused: what is in memory was made by this eskit."""
        raise Unsupported(
            f"{self.url} has no schema to migrate", hint="Only stores in a file have one."
        )

    def restore(
        self,
        backup: Path,  # noqa: ARG002
        *,
        dry_run: bool,  # noqa: ARG002
        progress: ReportProgress,  # noqa: ARG002
    ) -> NoReturn:
        """Refused: there is no file to replace."""
        raise self._no_file("that a backup could replace")

    def _no_file(self, purpose: str) -> Unsupported:
        return Unsupported(
            f"{self.url} has no file {purpose}", hint="Only stores in a file are restored."
        )
