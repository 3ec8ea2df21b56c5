"""A service with the least that a command can be, in a process of its own as in real life.

``python -m tests.benchmarks.noting NATS STORE [layered]`` says that it is ready and answers until
its standard input ends; with two middlewares if it is to be layered.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from google.protobuf.wrappers_pb2 import StringValue

from eskit import App
from eskit.cqrs.nats import serve_nats
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.services import Method
from eskit.middleware import log_calls, recover
from eskit.nats.connection import connected

WRITE = Method(
    service="bench.v1.NoteCommandService",
    name="Write",
    python_name="write",
    kind="command",
    request=StringValue,
    response=StringValue,
)


class Note(Aggregate[StringValue, Any]):
    """Each command makes a stream of its own."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Note",
        state=StringValue,
        id_field="note_id",
        commands=(WRITE,),
        events=(EventMethod(event=StringValue, python_name="on_written"),),
    )

    def write(self, command: StringValue) -> StringValue:
        self.emit(StringValue(value=command.value))
        return command

    def on_written(self, event: StringValue) -> None:
        self.state.value = event.value


APP = App("notes", aggregates=[Note])
LAYERED = App("notes", aggregates=[Note], middleware=[recover, log_calls])
ECHO = "bench.echo"
"""The subject that the same process answers with bare nats-py."""


@contextmanager
def served(url: str, store: str, *how: str) -> Iterator[None]:
    """The service answers as long as the block lasts."""
    command = [sys.executable, "-m", __spec__.name, url, store, *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.communicate()


async def _serve(url: str, store: str, *how: str) -> None:
    with (LAYERED if how else APP).open(store) as running:
        async with connected(url) as connection:
            await connection.subscribe(ECHO, cb=_echo)
            services = await serve_nats(running, connection, APP.service_types)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)
            await services.stop()


async def _echo(message: Any) -> None:
    await message.respond(message.data)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
