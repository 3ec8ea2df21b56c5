"""Unfinished files, and giving a finished one its name."""

from __future__ import annotations

import os
from pathlib import Path


def publish(partial: Path, target: Path) -> None:
    """Rename a finished file for good: also if the power goes."""
    _sync(partial)
    partial.rename(target)
    _sync(target.absolute().parent)


def remove_store_files(path: Path) -> None:
    """Remove a store that was never finished, with what lies beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
