"""kill -9 of a writer at random points: 30 times, or as ESKIT_TEST_KILLS says."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from eskit.operations.verifying import verify
from eskit.store.open import open_store

PROGRAM = Path(__file__).with_name("killing.py")
ROUNDS = int(os.environ.get("ESKIT_TEST_KILLS", "30"))


@pytest.mark.parametrize("synchronous", ["full", "normal"])
@pytest.mark.promise("appends-are-durable")
@pytest.mark.promise("appends-are-atomic")
def test_every_acknowledged_append_survives_a_kill_and_none_is_half_there(synchronous):
    url = f"sqlite:///log.db?synchronous={synchronous}"
    seed = random.randrange(2**32)

    run = subprocess.run(
        [sys.executable, str(PROGRAM), url, str(ROUNDS), str(seed)],
        capture_output=True,
        text=True,
        timeout=60 + 2 * ROUNDS,
        check=False,
    )

    assert run.stderr == "", f"seed {seed}: {run.stderr}"
    counted = json.loads(run.stdout)
    assert counted["acknowledged"] >= ROUNDS
    with open_store(url, create=False) as store:
        assert store.count_events() == counted["events"]
        assert verify(store).verdict == "ok"
