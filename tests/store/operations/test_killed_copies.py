"""kill -9 of a copy at random points: 20 times, or as ESKIT_TEST_KILLS says."""

import json
import os
import random
import subprocess
import sys

import pytest

PROGRAM = "tests.store.operations.killing_copies"
ROUNDS = int(os.environ.get("ESKIT_TEST_KILLS", "20"))


@pytest.mark.promise("copies-miss-nothing")
@pytest.mark.promise("one-of-two-is-open")
def test_a_killed_copy_resumes_and_leaves_at_most_one_store_open(postgres, checkout):
    seed = random.randrange(2**32)

    run = subprocess.run(
        [sys.executable, "-m", PROGRAM, postgres, str(ROUNDS), str(seed)],
        capture_output=True,
        text=True,
        timeout=300 + 20 * ROUNDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )

    assert run.stderr == "", f"seed {seed}: {run.stderr}"
    counted = json.loads(run.stdout)
    assert counted["source open"] > 0
    assert sum(counted.values()) - counted.get("aborted", 0) == ROUNDS
