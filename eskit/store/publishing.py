"""Unfinished files, and giving a finished one its name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eskit.errors import StoreUnavailable, TargetExists


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """The name of a file until it is complete, for one at a time who makes it.

    Raises TargetExists if there is a `target` or somebody else is making it, and
    StoreUnavailable where no file can be made.
    """
    if target.is_dir():
        raise TargetExists(f"{target} is a folder", hint="Name a file in it.")
    path = target.with_name(f"{target.name}.partial-lock")
    lock = _lock(path, target)
    try:
        if target.exists():
            raise TargetExists(
                f"{target} exists", hint="Choose another file; nothing is overwritten."
            )
        yield target.with_name(f"{target.name}.partial")
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def publish(partial: Path, target: Path) -> None:
    """Rename a finished file for good: also if the power goes."""
    _sync(partial)
    partial.rename(target)
    _sync(target.absolute().parent)


def remove_store_files(path: Path) -> None:
    """Remove a store that was never finished, with what lies beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _lock(path: Path, target: Path) -> int:
    """The descriptor of a locked file at `path`; the system lets go of it when its holder dies."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"{target} cannot be written: {error.strerror}",
                hint="Check the folder, its permissions and its space.",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(file).st_ino:
                return file
        except BlockingIOError:
            os.close(file)
            raise TargetExists(
                f"Somebody else is making {target}", hint="Wait until it has finished."
            ) from None
        except FileNotFoundError:
            pass
        os.close(file)  # its holder had just finished, and removed it


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
