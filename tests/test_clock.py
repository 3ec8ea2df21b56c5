"""Time, waiting and threads come through one port, so that a simulation can own them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "eskit"
PAST_THE_PORT = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "sleep")),
    *(f"time.{name}" for name in ("perf_counter", "perf_counter_ns")),
    *(f"datetime.{name}" for name in ("now", "utcnow", "today")),
    *("threading.Thread", "threading.Timer", "_thread.start_new_thread"),
}
ELSEWHERE = {
    "clock.py": "the port",
    "cli": "what is shown to people; an interrupt is told by a thread of its own",
    "nats/micro.py": "nanoseconds that it reports of itself",
    "domain/ids.py": "an id is unique, whatever the time is",
    "processes/supervisor.py": "a program of its own, which cannot import eskit",
    "sqlite/watching.py": "compared with the times that the file system gives",
}


def uses_of(source: str) -> set[str]:
    """What a module takes of time and threads by itself, however it imports it."""
    meant: dict[str, str] = {}
    uses = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            meant |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}".removeprefix("datetime.")
                meant[alias.asname or alias.name] = full
                uses.add(full)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name, _, rest = ast.unparse(node).partition(".")
            uses.add(f"{meant.get(name, name)}.{rest}")
    return {use for use in PAST_THE_PORT for found in uses if f".{found}".endswith(f".{use}")}


def has_reason(module: str) -> bool:
    return any(module == place or module.startswith(f"{place}/") for place in ELSEWHERE)


def test_no_module_goes_past_the_clock():
    found = {
        (module, use)
        for file in PACKAGE.rglob("*.py")
        if not has_reason(module := file.relative_to(PACKAGE).as_posix())
        for use in uses_of(file.read_text(encoding="utf-8"))
    }

    assert found == set()


def test_every_exception_is_needed():
    for place in ELSEWHERE:
        files = [PACKAGE / place] if place.endswith(".py") else (PACKAGE / place).rglob("*.py")

        assert any(uses_of(file.read_text(encoding="utf-8")) for file in files), place


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.sleep(1)",
        "import time as t\nt.monotonic()",
        "from time import monotonic",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.now()",
        "import threading\nthreading.Thread(target=print)",
        "from threading import Thread",
        "from _thread import start_new_thread as begin",
    ],
)
def test_a_way_past_the_clock_is_seen(source):
    assert uses_of(source)


@pytest.mark.parametrize(
    "source", ["from datetime import datetime\ndatetime.min", "import threading\nthreading.Lock()"]
)
def test_what_takes_no_time_is_let_be(source):
    assert uses_of(source) == set()
