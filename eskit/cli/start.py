"""The console script ``eskit``: Ctrl-C ends it without a traceback, also while it loads."""

from __future__ import annotations

import signal
import sys


def run() -> None:
    """Load the command line, and run it."""
    hears_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears_ctrl_c:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # ends the process at once: it has done nothing
    from eskit.cli.main import run as run_command

    if hears_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = run_command()
    finally:
        if hears_ctrl_c:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is left is to leave
    sys.exit(code)
