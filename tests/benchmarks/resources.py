"""What runners and rebuilds of projections cost as processes of their own: time and memory.

``python -m tests.benchmarks.resources STORE READ_MODELS`` rebuilds a projection and prints by how
many bytes its memory grew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, EventContext, NewEvent, Projection, open_store
from eskit.projections.engine import ProjectionEngine

MANY = 1_000_000
ROWS = 5_000
IDLE_SECONDS = 10.0
BATCH = 1_000

SETTINGS = """
[tool.eskit]
app = "waiting:app"
store = "{store}"
read_models = "sqlite:///waiting_read.db"
"""
APP = '''
"""Ten projections with nothing to do."""

from eskit import App, Projection
from google.protobuf.wrappers_pb2 import StringValue


def idle(number):
    projection = Projection(f"p{number}")
    projection.on(StringValue)(lambda event, context: None)
    return projection


app = App("waiting", projections=[idle(number) for number in range(10)])
'''


def seconds_of(process: int) -> float:
    """The processor time that a process has used, as Linux counts it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_share(folder: Path, url: str = "") -> float:
    """The share of a core that ``eskit project run`` takes with ten projections at the head."""
    folder.mkdir()
    url = url or f"sqlite:///{folder}/waiting.db"
    (folder / "pyproject.toml").write_text(SETTINGS.format(store=url))
    (folder / "waiting.py").write_text(APP)
    with open_store(url) as store:
        events = [NewEvent(StringValue(value="x")) for _ in range(BATCH)]
        store.append("Thing-1", events, expected_version=ANY)
    runner = subprocess.Popen(
        [sys.executable, "-m", "eskit", "project", "run"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert runner.stderr is not None
        runner.stderr.readline()
        time.sleep(2)
        before = seconds_of(runner.pid)
        time.sleep(IDLE_SECONDS)
        return (seconds_of(runner.pid) - before) / IDLE_SECONDS
    finally:
        runner.terminate()
        runner.communicate()


def memory_growth(folder: Path) -> float:
    """By how many bytes the memory of a process grows while it rebuilds from a million events."""
    folder.mkdir()
    store_url = f"sqlite:///{folder}/log.db?synchronous=normal"
    with open_store(store_url) as store:
        for start in range(0, MANY, BATCH):
            values = (f"key {number % ROWS}" for number in range(start, start + BATCH))
            events = [NewEvent(StringValue(value=value)) for value in values]
            store.append(f"Thing-{start // BATCH}", events, expected_version=ANY)
    measured = subprocess.run(
        [sys.executable, "-m", __name__, store_url, f"sqlite:///{folder}/read.db"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(measured.stdout)


def counting(folder: Path) -> Projection:
    """One upsert for each event."""
    migrations = folder / "migrations"
    migrations.mkdir()
    (migrations / "1_counts.sql").write_text(
        "CREATE TABLE counts (key TEXT PRIMARY KEY, amount INTEGER NOT NULL);\n"
    )
    projection = Projection("counts", migrations=migrations)

    @projection.on(StringValue)
    def counted(event: StringValue, context: EventContext) -> None:
        context.db.execute(
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET amount = amount + 1",
            (event.value,),
        )

    return projection


def most_memory() -> int:
    """The most memory that this process has had so far, in bytes, as Linux counts it.

    Not getrusage: its figure begins with the memory of the parent.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("Linux does not say how much memory this process has had")


def main(store_url: str, read_models: str) -> None:
    """Rebuild, and print how much more memory that took than a run of nothing."""
    folder = Path(read_models.removeprefix("sqlite:///")).parent
    with open_store(store_url) as store:
        engine = ProjectionEngine(store, [counting(folder)], read_models)
        engine.status()
        before = most_memory()
        engine.rebuild("counts")
        sys.stdout.write(f"{most_memory() - before}\n")
        engine.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
