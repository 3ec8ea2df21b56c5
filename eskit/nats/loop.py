"""An event loop in a thread of its own, by which synchronous code speaks to NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from eskit.clock import SYSTEM_CLOCK

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines for other threads, which wait for their results. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = SYSTEM_CLOCK.start(self._loop.run_forever, name=name, daemon=True)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of a coroutine, or what it raised; an interrupted wait cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._loop.is_closed()

    def close(self) -> None:
        """End the loop, and the thread with it; idempotent."""
        if self.closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
