"""How the commands of a project find a server that one of them runs: a file that it writes."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from eskit.processes.identity import process_start


class Announcement:
    """Where a server is, with its login, in a file that only this user can read.

    It is believed while the process lives that it names.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, url: str, pid: int) -> None:
        """Announce the server with this process id, which this process keeps."""
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        keeper = os.getpid()
        entry = {
            "url": url,
            "pid": pid,
            "started": process_start(pid),
            "keeper": keeper,
            "keeper_started": process_start(keeper),
        }
        write_private(self.path, json.dumps(entry))

    def withdraw(self, pid: int) -> None:
        """Remove it unless another server has announced itself since."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            if json.loads(self.path.read_text())["pid"] == pid:
                self.path.unlink()

    def find_url(self) -> str | None:
        """The URL of the server if it runs now."""
        entry = self._read()
        return str(entry["url"]) if _is_alive(entry, "pid", "started") else None

    def find_keeper(self) -> int | None:
        """The process that keeps the server, also while that is being restarted."""
        entry = self._read()
        return int(entry["keeper"]) if _is_alive(entry, "keeper", "keeper_started") else None

    def _read(self) -> dict[str, Any]:
        try:
            entry = json.loads(self.path.read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return entry if isinstance(entry, dict) and isinstance(entry.get("url"), str) else {}


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, in one step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _is_alive(entry: dict[str, Any], pid: str, started: str) -> bool:
    """Whether the process in two of the entry's fields runs."""
    if not isinstance(entry.get(pid), int):
        return False
    alive = process_start(entry[pid])
    return alive is not None and alive == entry.get(started)
