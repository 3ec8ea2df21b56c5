"""Appends by many threads, in this process or in one of several that begin together.

``python -m tests.benchmarks.contending URL KIND THREADS EACH`` connects, says that it is ready,
begins when it is told to, and prints how many seconds it took. KIND is eskit, or bare: psycopg.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from uuid import uuid4

import psycopg
from google.protobuf.wrappers_pb2 import StringValue

from eskit import Command, NewEvent, open_store
from tests.benchmarks.comparison import Timed

PAYLOAD = "a deposit of fifty euros, as a payload of usual size"
TABLE = """
    CREATE TABLE bare (
        position bigserial PRIMARY KEY, stream text NOT NULL, version int NOT NULL,
        type text NOT NULL, recorded_at bigint NOT NULL, data bytea NOT NULL,
        UNIQUE (stream, version)
    )
"""
INSERT = "INSERT INTO bare (stream, version, type, recorded_at, data) VALUES (%s, %s, %s, %s, %b)"
_streams = count()


def event() -> NewEvent:
    """One to append."""
    return NewEvent(StringValue(value=PAYLOAD))


def new_stream() -> str:
    """A name that no process has used."""
    return f"Account-{uuid4().hex[:12]}-{next(_streams)}"


def insert(bare: psycopg.Connection, stream: str, number: int) -> None:
    """A row in a flat table, in a transaction: no check, no order."""
    data = StringValue(value=PAYLOAD).SerializeToString()
    with bare.transaction():
        row = (stream, number, "google.protobuf.StringValue", number, data)
        bare.execute(INSERT, row, prepare=True)


@contextmanager
def appending(url: str, kind: str, threads: int, each: int) -> Iterator[Timed]:
    """Threads with a stream of their own; eskit keeps a command with each append."""
    with ExitStack() as stack:
        work = _with_eskit(url, stack) if kind == "eskit" else _with_psycopg(url, threads, stack)

        def run() -> float:
            def append(thread: int) -> None:
                stream = new_stream()
                for number in range(each):
                    work(thread, stream, number)

            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(append, range(threads)))
                return time.perf_counter() - start

        yield run


def _with_eskit(url: str, stack: ExitStack) -> Callable[[int, str, int], object]:
    store = stack.enter_context(open_store(url))

    def append(_thread: int, stream: str, number: int) -> object:
        command = Command(id=str(uuid4()), fingerprint="Deposit")
        return store.append(stream, [event()], expected_version=number, command=command)

    return append


def _with_psycopg(url: str, threads: int, stack: ExitStack) -> Callable[[int, str, int], object]:
    connections = [
        stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(threads)
    ]
    return lambda thread, stream, number: insert(connections[thread], stream, number)


def processes(url: str, kind: str, count: int, threads: int, each: int) -> list[float]:
    """The seconds that each of several processes took, which began together."""
    command = [sys.executable, "-m", __name__, url, kind, str(threads), str(each)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(process.communicate(timeout=300)[0]) for process in running]


def main(url: str, kind: str, threads: str, each: str) -> None:
    """Be one of several."""
    with appending(url, kind, int(threads), int(each)) as run:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        sys.stdout.write(f"{run()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
