"""A command that cannot outlive whoever started it.

Run as ``python -m eskit.processes.child COMMAND…`` in a session of its own, with a pipe as standard
input. When whoever holds the other end closes it, exits or is killed, the command is ended: TERM,
then KILL. Its exit code is passed on, that of a signal as a shell does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from eskit.processes.supervisor import end, tied_to_this_process, wait_for_the_end


def tied_to_parent(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` so."""
    return [sys.executable, "-m", __spec__.name, *command]


def main() -> int:
    """Run the command that the arguments are."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    child = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        preexec_fn=tied_to_this_process if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
    )
    try:
        wait_for_the_end(child, parent)
    finally:
        end(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main())
