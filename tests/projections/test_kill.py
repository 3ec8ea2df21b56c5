"""kill -9 at random moments: 30 times each, or as ESKIT_TEST_KILLS says."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from eskit import ANY, NewEvent
from eskit.projections.database import Database
from tests.support.account_events import Counted

ROUNDS = int(os.environ.get("ESKIT_TEST_KILLS", "30"))
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def children(tmp_path, read_models):
    """Starts a child that runs or rebuilds; gives its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.processes.counting", str(tmp_path), read_models],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def start(verb: str) -> int:
        process.stdin.write(f"{verb}\n")
        return int(process.stdout.readline())

    yield start
    process.communicate()


class Fold:
    """The rows as plain Python makes them of the log, and a comparison with those in the file."""

    def __init__(self, store, engine) -> None:
        self._store = store
        self._engine = engine
        self._amounts: Counter[str] = Counter()
        self._positions: list[int] = []

    def check(self) -> int:
        """Compare up to where the checkpoint is; how many events that are.

        All of one moment: what a client has sent, its server may commit when the client is gone.
        """
        with self._engine.reader() as db:
            state = "SELECT value FROM eskit_records WHERE kind = 'state'"
            position = json.loads(db.execute(state).fetchone()[0])["position"]
            amounts = dict(db.execute("SELECT * FROM counts").fetchall())
            # In the order in which they were written, where the database keeps that.
            order = "rowid" if isinstance(db, Database) else "position"
            seen = db.execute(f"SELECT position FROM counts_seen ORDER BY {order}").fetchall()  # noqa: S608
        after = self._positions[-1] if self._positions else 0
        for event in self._store.read_all(after=after, before=position + 1):
            self._amounts[event.message.key] += event.message.amount
            self._positions.append(event.global_position)
        assert self._positions[-1] == position
        assert amounts == self._amounts
        assert [at for (at,) in seen] == self._positions
        return len(self._positions)


def append_some(store, n: int, chance: random.Random) -> None:
    store.append(
        "Count-1",
        [
            NewEvent(Counted(key=f"k{chance.randrange(9)}", amount=chance.randrange(1, 100)))
            for _ in range(n)
        ],
        expected_version=ANY,
    )


@pytest.mark.parametrize(
    ("verb", "more"), [("run", 200), ("rebuild", 20), ("rebuild in place", 20)]
)
@pytest.mark.promise("projections-are-exactly-once")
def test_rows_survive_a_kill_at_any_moment(verb, more, store, engine_of, counts, children):
    chance = random.Random()
    append_some(store, 2_000, chance)
    engine = engine_of(counts)
    engine.run()
    fold = Fold(store, engine)

    for _ in range(ROUNDS):
        child = children(verb)
        append_some(store, more, chance)
        time.sleep(chance.random() * 0.1)
        os.kill(child, signal.SIGKILL)
        fold.check()

    engine.rebuild("counts")
    engine.run()
    assert fold.check() == 2_000 + ROUNDS * more
    assert (engine.status()[0].lag, engine.status()[0].state) == (0, "idle")
