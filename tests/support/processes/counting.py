"""Children that run or rebuild a projection until they are killed: `python … FOLDER URL`.

For each line on stdin, a verb, one child is forked; it says its process id when it begins. Forked,
because starting Python takes longer than what is to be interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from eskit import open_store
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from tests.projections.conftest import counting


def work(verb: str, folder: Path, read_models: str) -> None:
    with open_store(f"sqlite:///{folder}/log.db") as store:
        engine = ProjectionEngine(store, [counting(folder)], read_models)
        sys.stdout.write(f"{os.getpid()}\n")
        sys.stdout.flush()
        if verb == "run":
            engine.run(once=False, limits=BatchLimits(events=20))
        while True:
            engine.rebuild("counts", in_place=verb == "rebuild in place")


def main(folder: Path, read_models: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if not os.fork():
            work(line.strip(), folder, read_models)


main(Path(sys.argv[1]), sys.argv[2])
