"""Kills copies of a store at random moments, and checks after each who takes appends.

Run as ``python -m tests.store.operations.killing_copies SERVER ROUNDS SEED``. The store goes from a
SQLite file to a schema of the PostgreSQL server and on to the next file, again and again; each
round forks a child that copies and is to finish, and kills it when it has come as far as the dice
say. Between the rounds the store is in use. Prints what was counted as JSON; raises AssertionError
at the first promise that is broken.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from types import FrameType

from eskit import open_store
from eskit.domain.claims import claim
from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable
from eskit.operations import copying, log_copy
from eskit.operations.copying import abort_copy, copy_store
from eskit.operations.erasing import erase
from eskit.operations.verifying import verify
from eskit.store.eventstore import EventStore
from eskit.testing.store_contract import command, text
from tests.support.postgres import new_store

FILES = {copying.__file__, log_copy.__file__}
FOR_EACH_ROW = {"_some", "_up_to", "_add", "_differences", "<genexpr>", "<listcomp>", "<lambda>"}
MOST_STEPS = 260
log_copy._BATCH = 40


def copy_until_killed(here: str, there: str, steps: int, report: int) -> None:
    """Copy and finish; report when so many functions were entered or left."""
    left = steps

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        code = frame.f_code
        if code.co_filename in FILES and code.co_name not in FOR_EACH_ROW and "c_" not in event:
            left -= 1
            if left == 0:
                os.write(report, b".")

    sys.setprofile(count)
    copy_store(here, there, finish=True)


def kill_one(here: str, there: str, steps: int) -> None:
    """Let a child copy so far, then kill it, unless it has finished before."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        copy_until_killed(here, there, steps, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as reports:
        reports.read(1)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status


class Use:
    """What is appended to the store, wherever that is."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []

    def append(self, url: str, events: int) -> bool:
        """Append some events, and erase a stream; False if the store refuses."""
        with open_store(url) as store:
            for _ in range(events):
                name = f"e{len(self.acknowledged)}"
                try:
                    store.append(
                        f"Account-{len(self.acknowledged) % 7}",
                        [text(name, claim("name", name))],
                        expected_version=ANY,
                        command=command(name, response=name.encode()),
                    )
                except StoreUnavailable:
                    return False
                self.acknowledged.append(name)
            secret = f"Secret-{len(self.acknowledged)}"
            store.append(secret, [text("secret")], expected_version=0)
            self.acknowledged.append("")
            erase(store, [secret], reason="asked", erased_by="dpo")
        return True

    def check(self, store: EventStore) -> None:
        """Raise AssertionError unless the store has everything once, in its order."""
        found = ["" if event.erased else event.message.value for event in store.read_all()]
        assert found == self.acknowledged
        for name in filter(None, self.acknowledged):
            kept = store.find_command(name)
            assert kept is not None
            assert kept.response == name.encode()
            assert store.find_claim("name", name) is not None
        assert verify(store).findings == ()


def main(server: str, rounds: int, seed: int) -> None:
    dice, use, counted = random.Random(seed), Use(), Counter[str]()
    urls = (url for n in range(rounds + 2) for url in (f"sqlite:///{n}.db", new_store(server)))
    here, there = next(urls), next(urls)
    assert use.append(here, 200)
    with open_store(here) as store:
        store_id = store.store_id
    for _ in range(rounds):
        kill_one(here, there, dice.randint(1, MOST_STEPS))
        open_here = use.append(here, 3)
        if open_here:
            open_there = False
            with open_store(there) as target:  # it refuses appends, or the copy has not begun
                assert target.find_copy() or target.store_id != store_id
        else:
            open_there = use.append(there, 3)
        counted[("both shut", "source open", "target open")[open_here + 2 * open_there]] += 1
        if open_there:
            with open_store(there) as store:
                use.check(store)
                assert store.store_id == store_id
            here, there = there, next(urls)
        elif not open_here and dice.random() < 0.3:
            abort_copy(here, there)
            counted["aborted"] += 1
            assert use.append(here, 3)
    copy_store(here, there, finish=True)
    with open_store(there) as store:
        use.check(store)
    json.dump(counted, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
