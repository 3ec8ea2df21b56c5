"""Files that are complete or not there: making one under another name, then giving it its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eskit.errors import ProjectError, StoreUnavailable
from eskit.files.lock import FileLock

LEFTOVERS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, and takes for its own when it opens another of that name."""


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """The name of a file until it is complete; one process at a time can write it.

    Raises TARGET_EXISTS if `target` exists, if SQLite left files beside it, or if another process
    writes it, and StoreUnavailable if the file cannot be created.
    """
    check_free(target)
    with making(target) as partial:
        check_free(target)
        yield partial


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """The same where there may be a `target` already."""
    _refuse_folder(target)
    lock = FileLock(target.with_name(f"{target.name}.partial-lock"))
    try:
        acquired = lock.acquire()
    except OSError as error:
        raise StoreUnavailable(
            f"{target} cannot be written: {error.strerror}",
            hint="Check the folder, its permissions and its space.",
        ) from error
    if not acquired:
        lock.close()
        raise ProjectError(
            f"Another process is writing {target}",
            code="TARGET_EXISTS",
            hint="Wait for it to finish, then retry.",
        )
    partial = target.with_name(f"{target.name}.partial")
    try:
        with suppress(FileNotFoundError):
            if partial.stat().st_nlink > 1:  # finished, and given its name just before a crash
                partial.unlink()
        yield partial
    finally:
        lock.remove()


def check_free(target: Path) -> None:
    """Raise TARGET_EXISTS if something bears the name, or SQLite left something beside it."""
    _refuse_folder(target)
    if os.path.lexists(target):
        raise ProjectError(
            f"{target} exists",
            code="TARGET_EXISTS",
            hint="Choose another file; nothing is overwritten.",
        )
    if left := find_leftovers(target):
        names = " ".join(str(path) for path in left)
        raise ProjectError(
            f"{left[0]} remains from an earlier database {target.name}: SQLite would "
            "read it as part of the new one",
            code="TARGET_EXISTS",
            hint=f"Choose another file, or if that database is not needed: rm {names}",
        )


def find_leftovers(path: Path) -> list[Path]:
    """What SQLite keeps beside a database, or has left of one."""
    return [left for left in companions_of(path) if os.path.lexists(left)]


def companions_of(path: Path) -> list[Path]:
    """The names of what SQLite keeps beside a database."""
    return [Path(f"{path}{suffix}") for suffix in LEFTOVERS]


def put_in_place(partial: Path, target: Path, *, aside: Path | None = None) -> None:
    """Give a finished file its name for good, also if the power goes.

    Without `aside` the name must be free: TARGET_EXISTS, also for what SQLite left beside a file
    that is gone. With it, the file of that name and what SQLite keeps beside it are kept as
    `aside`, which must be free.
    """
    _sync(partial)
    if aside is None:
        _name(partial, target)
    else:
        _move_aside(target, aside)
        partial.replace(target)
    _sync(target.absolute().parent)


def remove_database(path: Path) -> None:
    """Remove a database with what lies beside it."""
    for file in (path, *companions_of(path)):
        file.unlink(missing_ok=True)


def _refuse_folder(target: Path) -> None:
    if target.is_dir():
        raise ProjectError(f"{target} is a folder", code="TARGET_EXISTS", hint="Name a file in it.")


def _move_aside(target: Path, aside: Path) -> None:
    """Keep a database under another name as well; the name itself is there all the time."""
    check_free(aside)
    if os.path.lexists(target):
        try:
            aside.hardlink_to(target)
        except OSError:  # a disk without hard links
            target.rename(aside)
    for left, kept in zip(companions_of(target), companions_of(aside), strict=True):
        with suppress(FileNotFoundError):
            left.rename(kept)


def _name(partial: Path, target: Path) -> None:
    """Rename without overwriting anything."""
    check_free(target)
    try:
        target.hardlink_to(partial)
    except FileExistsError:
        check_free(target)
        raise
    except OSError:  # a disk without hard links
        partial.rename(target)
    else:
        partial.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
