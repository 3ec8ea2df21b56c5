"""An operation that kills its own process when it has come as far as told.

Run as ``python interrupted.py OPERATION AFTER ARGUMENTS…``: AFTER counts reports of progress.
"""

import os
import signal
import sys
from pathlib import Path

from eskit import open_store
from eskit.operations.exporting import export_log
from eskit.operations.files import back_up
from eskit.operations.importing import import_log


def main(operation: str, after: int, first: str, second: str) -> None:
    reports = 0

    def die_in_time(_progress: object) -> None:
        nonlocal reports
        reports += 1
        if reports > after:
            os.kill(os.getpid(), signal.SIGKILL)

    if operation == "import":
        import_log(Path(first), second, progress=die_in_time)
        return
    with open_store(first) as store:
        if operation == "export":
            export_log(store, Path(second), progress=die_in_time)
        else:
            back_up(store, Path(second), progress=die_in_time)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
