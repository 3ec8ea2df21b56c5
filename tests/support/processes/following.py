"""A process that follows a stream until it is killed: `python -m … NATS_URL FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from eskit.messaging.log_nats import JetStreamLog
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from tests.projections.conftest import counting


def main(url: str, folder: Path) -> None:
    log = JetStreamLog(lambda: url)
    engine = ProjectionEngine(log, [counting(folder)], f"sqlite:///{folder}/read.db")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    engine.run(once=False, limits=BatchLimits(events=20))


main(sys.argv[1], Path(sys.argv[2]))
