"""kill -9 at random moments of a run or a rebuild: rows equal an independent fold."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eskit import ANY, NewEvent
from tests.projections.conftest import rows
from tests.projections.ledger import Counted

ROUNDS = int(os.environ.get("PROJECTION_KILL_ROUNDS", "10"))
CHECKOUT = Path(__file__).parents[2]


def start(verb: str, folder: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.projections.counting_process", verb, str(folder)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def check_rows(engine, store) -> None:
    """The read model equals a fold in plain Python of the events up to its checkpoint."""
    (checkpoint,) = engine.checkpoints()
    fold: dict[str, int] = {}
    positions = []
    for event in store.read_all(before=checkpoint.position + 1):
        message = event.message
        fold[message.key] = fold.get(message.key, 0) + message.amount
        positions.append((event.global_position,))
    assert rows(engine, "SELECT key, amount FROM counts ORDER BY key") == sorted(fold.items())
    assert rows(engine, "SELECT position FROM counts_seen ORDER BY position") == positions


def append_some(store, n: int, chance: random.Random) -> None:
    store.append(
        "Count-1",
        [
            NewEvent(Counted(key=f"k{chance.randrange(9)}", amount=chance.randrange(100)))
            for _ in range(n)
        ],
        expected_version=ANY,
    )


@pytest.mark.parametrize("verb", ["run", "rebuild"])
def test_rows_survive_a_kill_at_any_moment(verb, store, engine_of, counts, tmp_path):
    chance = random.Random()
    append_some(store, 2_000, chance)
    engine = engine_of(counts)
    engine.run()

    for _ in range(ROUNDS):
        process = start(verb, tmp_path)
        append_some(store, 200, chance)
        time.sleep(chance.random() * 0.1)
        kill(process)
        check_rows(engine, store)

    engine.rebuild("counts")
    engine.run()
    check_rows(engine, store)
    assert engine.status()[0].lag == 0
    assert engine.status()[0].state == "idle"
