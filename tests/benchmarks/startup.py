"""How long a command takes before it does anything, and a small one as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import NO_STREAM, NewEvent, open_store
from tests.benchmarks.comparison import Comparison, Target, Timed, compare, timed

ESKIT = Path(sys.executable).with_name("eskit")
FLOOR = "python -c 'import typer, rich.console'"


def kept_modules(folder: Path) -> dict[str, str]:
    """An environment in which modules are compiled once and kept, as in any installation.

    Where the environment forbids that, every run would compile eskit, a checkout, again, but not
    the floor, an installed package.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / ".pycache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def process(*command: str | Path, folder: Path) -> Timed:
    """A command as a whole process, its output thrown away."""
    environment = kept_modules(folder)

    def run() -> None:
        subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )

    return timed(run)


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """``eskit --help`` and ``eskit stream read`` beside the imports that neither can avoid."""
    floor = process(sys.executable, "-c", "import typer, rich.console", folder=folder)
    url = f"sqlite:///{folder / 'small.db'}"
    with open_store(url) as store:
        events = [NewEvent(StringValue(value=f"event {number}")) for number in range(10)]
        store.append("Account-acc-001", events, expected_version=NO_STREAM)
    yield compare(
        "eskit --help",
        process(ESKIT, "--help", folder=folder),
        floor_name=FLOOR,
        floor=floor,
        target=Target(kind="time", bound=2.0),
        rounds=rounds,
    )
    yield compare(
        "eskit stream read, 10 events",
        process(ESKIT, "--store", url, "stream", "read", "Account-acc-001", folder=folder),
        floor_name=FLOOR,
        floor=floor,
        target=Target(kind="time", bound=3.5),
        rounds=rounds,
    )
