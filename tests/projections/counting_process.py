"""A process that runs or rebuilds until it is killed: `python counting_process.py VERB FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from eskit import open_store
from eskit.projections.engine import ProjectionEngine
from eskit.projections.follower import BatchLimits
from tests.projections.conftest import counting


def main(verb: str, folder: Path) -> None:
    with open_store(f"sqlite:///{folder}/log.db") as store:
        engine = ProjectionEngine(store, [counting(folder)], f"sqlite:///{folder}/read.db")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        if verb == "run":
            engine.run(once=False, limits=BatchLimits(events=20))
        while verb == "rebuild":
            engine.rebuild("counts")


main(sys.argv[1], Path(sys.argv[2]))
