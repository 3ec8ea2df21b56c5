"""What the runner runs, and three ways to make it of what there is."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, runtime_checkable

from eskit.clock import SYSTEM_CLOCK
from eskit.errors import ServiceError


@runtime_checkable
class Service(Protocol):
    """Something that starts, is there for a while, and stops.

    `start` returns when the service is ready. `stop` is idempotent and also cleans up after a
    start that failed or was given up in the middle. A service may also be `Watched` or `Checked`.
    """

    @property
    def name(self) -> str:
        """Short, for people; unique within a runner."""
        ...

    async def start(self) -> None:
        """Start, and return when ready."""
        ...

    async def stop(self) -> None:
        """Stop, and return when stopped."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A service that can end, or fail, by itself."""

    async def wait(self) -> None:
        """Return when it has ended; raise what it failed with."""
        ...


@runtime_checkable
class Checked(Protocol):
    """A service that can say how it is."""

    async def check_health(self) -> None:
        """Raise if it is not well."""
        ...


@runtime_checkable
class Described(Protocol):
    """A service that can say what it does while it is well."""

    def describe(self) -> str:
        """A few words for whoever asks how it is."""
        ...


class Resource:
    """A service made of two blocking functions, such as those of EmbeddedNats."""

    def __init__(
        self,
        name: str,
        start: Callable[[], object],
        stop: Callable[[], object],
        *,
        check: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self._start, self._stop, self._check = start, stop, check

    async def start(self) -> None:
        """Call the first function in a worker thread."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Call the second one."""
        await asyncio.to_thread(self._stop)

    async def check_health(self) -> None:
        """Call the third one, if there is one."""
        if self._check is not None:
            await asyncio.to_thread(self._check)


class Loop:
    """A service made of a coroutine function that runs until an event is set."""

    def __init__(self, name: str, run: Callable[[asyncio.Event], Awaitable[object]]) -> None:
        self.name = name
        self._run = run
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it; it is ready at once."""
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._until_stopped(), name=self.name)

    async def stop(self) -> None:
        """Set the event and wait for the coroutine to end; what it raises is told by `wait`."""
        self._stop.set()
        if self._task is not None:
            try:
                await asyncio.wait([self._task])
            finally:
                self._task.cancel()

    async def wait(self) -> None:
        """Return when the coroutine has ended; raise what it raised."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def check_health(self) -> None:
        """Raise ServiceError unless it is running."""
        if self._task is None or self._task.done():
            raise ServiceError(f"{self.name} is not running")

    async def _until_stopped(self) -> None:
        await self._run(self._stop)


class Worker:
    """A service made of a blocking function that runs until an event is set, in its own thread.

    `check`, if there is one, raises while the function runs but is not well; `describe` says what
    it does.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[threading.Event], object],
        *,
        check: Callable[[], object] | None = None,
        describe: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self._run, self._check = run, check
        self.describe = describe
        self._stop = threading.Event()
        self._ended: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start the thread; it is ready at once."""
        self._stop = threading.Event()
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        work = partial(self._work, loop, self._ended)
        SYSTEM_CLOCK.start(work, name=self.name, daemon=True)

    async def stop(self) -> None:
        """Set the event and wait for the function to return; what it raises is told by `wait`."""
        self._stop.set()
        if self._ended is not None:
            await asyncio.wait([self._ended])

    async def wait(self) -> None:
        """Return when the function has returned; raise what it raised."""
        if self._ended is not None:
            await asyncio.shield(self._ended)

    async def check_health(self) -> None:
        """Raise ServiceError unless it is running, and what the check raises."""
        if self._ended is None or self._ended.done():
            raise ServiceError(f"{self.name} is not running")
        if self._check is not None:
            await asyncio.to_thread(self._check)

    def _work(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        failure: BaseException | None = None
        try:
            self._run(self._stop)
        except BaseException as error:  # noqa: BLE001 - handed over to `wait`, whatever it is
            failure = error
        # The loop may be closed already when no one waited for the end.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, ended, failure)


def _settle(ended: asyncio.Future[None], failure: BaseException | None) -> None:
    if ended.done():
        return
    if failure is None:
        ended.set_result(None)
    else:
        ended.set_exception(failure)
        ended.exception()  # looked at: `wait` may never be called
