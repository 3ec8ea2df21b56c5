"""The PostgreSQL server that a project has of its own, while one of its commands runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eskit.errors import ServiceError
from eskit.postgres.server import PrivatePostgres
from eskit.processes.announcement import Announcement

_LOOK_EVERY = 0.2


class OwnPostgres:
    """The server as a service, which is there before the store is opened and after it is closed.

    It keeps everything in `folder`, and its URL in the file `announcement`, where other commands of
    the project find it. A server that ends is started again at the same address.
    """

    def __init__(self, folder: Path, announcement: Path) -> None:
        self.name = "postgres"
        self._server = PrivatePostgres(folder)
        self._announcement = Announcement(announcement)
        self._pid = 0

    @contextmanager
    def running(self) -> Iterator[str]:
        """The URL of the server for the block; raises ServiceError where another process has it."""
        if self._announcement.find_url() is not None:
            keeper = self._announcement.find_keeper()
            raise ServiceError(
                "A PostgreSQL server of this project runs already"
                + (f", in process {keeper}" if keeper else ""),
                hint="Use that one: eskit dev. Or stop it first with Ctrl-C in its terminal.",
            )
        try:
            self._start()
            yield self._server.url()
        finally:
            self._announcement.withdraw(self._pid)
            self._server.stop()

    async def start(self) -> None:
        """Start it again if it has ended."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Nothing: the store is still open."""

    async def wait(self) -> None:
        """Raise ServiceError when the server has ended by itself."""
        while True:
            await self.check_health()
            await asyncio.sleep(_LOOK_EVERY)

    async def check_health(self) -> None:
        """Raise ServiceError unless the server's processes are alive."""
        self._server.check_health()

    def describe(self) -> str:
        """Where it is, without its password."""
        return self._server.address

    def _start(self) -> None:
        self._server.start()
        self._pid = self._server.pid
        self._announcement.write(self._server.url(), self._pid)
