"""Ten projections over one log, how soon a row is visible, and what waiting costs."""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from eskit import ANY, EventContext, EventStore, NewEvent, Projection, open_store
from eskit.projections.engine import ProjectionEngine
from tests.benchmarks.comparison import Comparison, Target, Timed, compare
from tests.benchmarks.resources import MANY, idle_share, memory_growth

EVENTS = 50_000
STREAMS = 1_000
APPENDS = 500

KINDS: tuple[type[Message], ...] = (
    wrappers_pb2.StringValue,
    wrappers_pb2.BytesValue,
    wrappers_pb2.BoolValue,
    wrappers_pb2.Int32Value,
    wrappers_pb2.Int64Value,
    wrappers_pb2.UInt32Value,
    wrappers_pb2.UInt64Value,
    wrappers_pb2.FloatValue,
    wrappers_pb2.DoubleValue,
)
TEN = range(10)


def upsert(number: int) -> str:
    """Count a key in the table of one of the projections."""
    return (
        f"INSERT INTO p{number} (key, total) VALUES (?, 1) "  # noqa: S608 - a number
        "ON CONFLICT (key) DO UPDATE SET total = total + 1"
    )


def fill(store: EventStore, raw: sqlite3.Connection) -> None:
    """The same events, nine kinds in turn, in a store and in a plain table."""
    raw.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, type TEXT, data BLOB)")
    for start in range(0, EVENTS, 500):
        messages = [KINDS[number % len(KINDS)]() for number in range(start, start + 500)]
        stream = f"Thing-{start // 500 % STREAMS}"
        store.append(stream, [NewEvent(message) for message in messages], expected_version=ANY)
        raw.executemany(
            "INSERT INTO events (type, data) VALUES (?, ?)",
            [(type(m).DESCRIPTOR.full_name, m.SerializeToString()) for m in messages],
        )
    raw.commit()


def projection(folder: Path, number: int, kinds: tuple[type[Message], ...]) -> Projection:
    """A projection that counts positions modulo a thousand."""
    migrations = folder / f"p{number}"
    migrations.mkdir(exist_ok=True)
    (migrations / "1_count.sql").write_text(
        f"CREATE TABLE p{number} (key INTEGER PRIMARY KEY, total INTEGER NOT NULL);\n"
    )
    made, statement = Projection(f"p{number}", migrations=migrations), upsert(number)

    def count(event: Message, context: EventContext) -> None:
        context.db.execute(statement, (event.ByteSize(),))

    if kinds:
        made.on(*kinds)(count)
    return made


def following(store: EventStore, projections: list[Projection], folder: Path) -> Timed:
    """The time to run projections over the whole log into a new read model."""

    def run() -> float:
        for file in folder.glob("read.db*"):
            if file.is_file():
                file.unlink()
        engine = ProjectionEngine(store, projections, f"sqlite:///{folder / 'read.db'}")
        start = time.perf_counter()
        engine.run()
        elapsed = time.perf_counter() - start
        engine.close()
        return elapsed

    return run


def hand_written(log: Path, model: Path) -> Timed:
    """One loop that reads, parses and does ten upserts for each event, in one transaction."""
    classes = {kind.DESCRIPTOR.full_name: kind.FromString for kind in KINDS}
    statements = [upsert(number) for number in TEN]

    def run() -> float:
        model.unlink(missing_ok=True)
        start = time.perf_counter()
        source, target = sqlite3.connect(log), sqlite3.connect(model)
        for number in TEN:
            target.execute(f"CREATE TABLE p{number} (key INTEGER PRIMARY KEY, total INTEGER)")
        for _, kind, data in source.execute("SELECT position, type, data FROM events ORDER BY 1"):
            event = classes[kind](data)
            for statement in statements:
                target.execute(statement, (event.ByteSize(),))
        target.commit()
        elapsed = time.perf_counter() - start
        source.close()
        target.close()
        return elapsed

    return run


@contextmanager
def live(engine: ProjectionEngine) -> Iterator[None]:
    """A thread that follows."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: engine.run(once=False, stop=stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def latencies(
    store: EventStore, engine: ProjectionEngine, *, a_second: int = APPENDS
) -> list[float]:
    """Seconds from before each append to the moment its row is visible, at so many a second."""
    found = []
    with live(engine):
        for number in range(APPENDS):
            start = time.perf_counter()
            event = NewEvent(wrappers_pb2.StringValue(value=f"{number}"))
            appended = store.append("Live-1", [event], expected_version=ANY)
            engine.wait_for("p0", appended.global_position, 5)
            found.append(time.perf_counter() - start)
            time.sleep(max(0.0, 1 / a_second - found[-1]))
    return found


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Ten over one log, then latency, idle cost of a runner, and memory of a rebuild."""
    raw = sqlite3.connect(folder / "raw.db")
    some = max(3, rounds // 3)
    one = [projection(folder, 0, KINDS)]
    split = [projection(folder, number, KINDS[number : number + 1]) for number in TEN]
    every = [projection(folder, number, KINDS) for number in TEN]
    with open_store(f"sqlite:///{folder / 'store.db'}?synchronous=normal") as store:
        fill(store, raw)
        raw.close()
        yield compare(
            f"{EVENTS:,} events, ten projections, each event for one of them",
            following(store, split, folder),
            floor_name="one projection that handles all of them",
            floor=following(store, one, folder),
            target=Target(kind="time", bound=2.0),
            rounds=some,
            count=EVENTS,
        )
        yield compare(
            f"{EVENTS:,} events, ten projections, each event for all of them",
            following(store, every, folder),
            floor_name="sqlite3: read, parse, ten upserts, one transaction",
            floor=hand_written(folder / "raw.db", folder / "model.db"),
            target=Target(kind="speed", bound=0.7),
            rounds=some,
            count=EVENTS,
        )
        following(store, every, folder)()
        engine = ProjectionEngine(store, every, f"sqlite:///{folder / 'read.db'}")
        found = latencies(store, engine)
        engine.close()
    yield bounded("append to visible row, median", statistics.median(found), 0.005)
    yield bounded("append to visible row, p99", sorted(found)[int(len(found) * 0.99)], 0.025)
    waited = idle_share(folder / "waiting")
    yield bounded("ten projections idle, core seconds in a second", waited, 0.005)
    grown = memory_growth(folder / "many")
    yield bounded(f"memory that a rebuild of {MANY:,} events adds", grown, 50e6, unit="bytes")


def bounded(
    name: str, amount: float, bound: float, *, unit: Literal["s", "bytes"] = "s"
) -> Comparison:
    """A measure that has a bound of its own instead of a floor."""
    target = Target(kind="extra", bound=bound, unit=unit)
    return Comparison(name=name, floor_name="nothing", ours=amount, floor=0.0, target=target)
