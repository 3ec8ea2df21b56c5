"""Which process a pid stands for: a pid is used again, a pid with its start time is not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_START_TIME = 19  # field 22 of /proc/<pid>/stat, counted from the state that follows the name
_PROC = Path("/proc")


def process_start(pid: int) -> str | None:
    """When a process started, as text to compare; None if there is no such process."""
    if pid <= 0:
        return None
    if (_PROC / "self" / "stat").exists():
        return _start_on_linux(pid)
    answer = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0


def _start_on_linux(pid: int) -> str | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[_START_TIME]
