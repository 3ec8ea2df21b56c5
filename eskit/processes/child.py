"""A command that cannot outlive whoever started it.

Run as ``python -m eskit.processes.child [OPTIONS] -- COMMAND…`` in a session of
its own, with a pipe as standard input. When whoever holds the other end closes it, exits or is
killed, the command is ended: TERM (or the signal named), then KILL, and its folder is removed if
it has one. Its exit code is passed on, that of a signal as a shell does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from eskit.processes.supervisor import end, tied_to_this_process, wait_for_the_end


def tied_to_parent(
    command: Sequence[str],
    *,
    user: tuple[int, int] | None = None,
    stop: str = "TERM",
    remove: Path | None = None,
    keep: Sequence[int] = (),
) -> list[str]:
    """The command line that runs `command` so, as a user and group if they are given.

    `stop` names the signal that ends it, `remove` a folder to be removed when it has ended. The
    open files in `keep`, which whoever starts the command line passes on, the command inherits: a
    lock on one of them is held until the last process has ended.
    """
    options = [f"--signal={stop}"]
    if user is not None:
        options.append(f"--user={user[0]}:{user[1]}")
    if remove is not None:
        options.append(f"--remove={remove}")
    options += [f"--keep={file}" for file in keep]
    return [sys.executable, "-m", __spec__.name, *options, "--", *command]


def main() -> int:
    """Run the command that the arguments are."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", default="")
    parser.add_argument("--signal", default="TERM")
    parser.add_argument("--remove", default="")
    parser.add_argument("--keep", type=int, action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    user = [int(number) for number in options.user.split(":")] if options.user else None
    parent = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())

    def prepare() -> None:
        if user is not None:
            os.setgroups([])
            os.setgid(user[1])
            os.setuid(user[0])
        if sys.platform == "linux":
            tied_to_this_process()  # after the change of user, which would untie it

    child = subprocess.Popen(
        options.command,
        stdin=subprocess.DEVNULL,
        pass_fds=options.keep,
        preexec_fn=prepare,  # noqa: PLW1509 - one thread
    )
    try:
        wait_for_the_end(child, parent)
    finally:
        end(child, signal.Signals[f"SIG{options.signal}"])
        if options.remove:
            shutil.rmtree(options.remove, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main())
