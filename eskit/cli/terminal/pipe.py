"""Notice that the reader of the output has gone."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Awaitable


async def while_read(work: Awaitable[None]) -> None:
    """Do the work; BrokenPipeError as soon as the reader of standard output has gone.

    Without this a command that waits for something to print would not notice. It sees the end of
    a pipe only: a terminal that goes sends a signal, and a file stays.
    """
    task = asyncio.ensure_future(work)
    loop, pipe = asyncio.get_running_loop(), _pipe_of_stdout()
    gone = False

    def reader_gone() -> None:
        nonlocal gone
        gone = True
        if pipe is not None:
            loop.remove_reader(pipe)  # once: the second time would break off the cleaning up
        task.cancel()

    if pipe is not None:
        loop.add_reader(pipe, reader_gone)  # of the writing end: "readable" when the other closes
    try:
        await task
    except asyncio.CancelledError:
        if not gone:
            raise
        raise BrokenPipeError from None
    finally:
        if pipe is not None:
            loop.remove_reader(pipe)


def _pipe_of_stdout() -> int | None:
    try:
        number = sys.stdout.fileno()
        return number if stat.S_ISFIFO(os.fstat(number).st_mode) else None
    except (OSError, ValueError):
        return None
