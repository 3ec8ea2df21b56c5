"""How long ``eskit serve`` takes from its start until it is up, with an embedded NATS server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from eskit.nats.server import nats_server_path
from tests.benchmarks.comparison import Comparison, Target, Timed, compare
from tests.benchmarks.startup import ESKIT, kept_modules, process

PROJECT = """
[tool.eskit]
app = "serving:app"
nats = "embedded"
"""
APP = '''
"""A command, and a projection of what it writes."""

from eskit import App, Projection
from google.protobuf.wrappers_pb2 import StringValue
from tests.benchmarks.noting import Note

notes = Projection("notes")


@notes.on(StringValue)
def noted(event, context):
    pass


app = App("serving", aggregates=[Note], projections=[notes])
'''
CHECKOUT = Path(__file__).parents[2]


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """The imports that serving needs anyway; the server's own start is taken off."""
    project = folder / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "serving.py").write_text(APP)
    serve, start_server = serving(project), starting_server()
    yield compare(
        "eskit serve until it is up, less the start of its server",
        lambda: serve() - start_server(),
        floor_name="python -c 'import nats, typer, rich.console'",
        floor=process(sys.executable, "-c", "import nats, typer, rich.console", folder=folder),
        target=Target(kind="time", bound=2.5),
        rounds=rounds,
    )


def serving(project: Path) -> Timed:
    """The command itself, from its start to the line that says that it is up."""
    environment = kept_modules(project) | {"PYTHONPATH": str(CHECKOUT)}

    def run() -> float:
        start = time.perf_counter()
        with subprocess.Popen(
            [ESKIT, "serve"], cwd=project, env=environment, stdout=subprocess.PIPE, text=True
        ) as command:
            assert command.stdout is not None
            assert any("up; stop with" in line for line in command.stdout)
            took = time.perf_counter() - start
            command.send_signal(signal.SIGINT)
            command.communicate(timeout=60)
        assert command.returncode == 0
        return took

    return run


def starting_server() -> Timed:
    """A bare nats-server with JetStream, from its start until it has told its port."""
    binary = nats_server_path()

    def run() -> float:
        with tempfile.TemporaryDirectory(prefix="eskit-bench-") as name:
            folder = Path(name)
            settings = {"listen": "127.0.0.1:-1", "ports_file_dir": name}
            settings |= {"jetstream": {"store_dir": name}, "log_file": f"{name}/log"}
            (folder / "nats.conf").write_text(json.dumps(settings))
            start = time.perf_counter()
            server = subprocess.Popen([binary, "-c", folder / "nats.conf"])
            while not any(folder.glob("*.ports")):
                time.sleep(0.001)
            took = time.perf_counter() - start
            server.terminate()
            server.wait(60)
        return took

    return run
