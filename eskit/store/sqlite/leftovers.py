"""What lies beside the file of a store before it is opened: does it belong to that file?

A ``-wal`` says nothing of the database it belongs to. SQLite replays it into whatever bears the
name, such as a backup that was put there after a crash. So a process that writes leaves a note,
``bank.db.writing``, of the store and of both files; a store that is closed leaves none.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import StoreUnavailable
from eskit.files.descriptors import is_open_here
from eskit.files.modes import mode_of, open_or_make
from eskit.sqlite.usage import lost_companion
from eskit.store.sqlite.connections import connect

_NOTE_LENGTH = 256
_LONGEST_PATIENCE = 1.0


def check_beside(path: Path, url: str, *, timeout: float, clock: Clock = SYSTEM_CLOCK) -> None:
    """Raise StoreUnavailable where SQLite would take the wrong files for those of the store.

    That is a ``-wal`` that another store has left, and files that are missing although somebody
    has the store open.
    """
    if not path.exists():
        _refuse_orphans(path, url)
        return
    _refuse_foreign_wal(path)
    lost = lost_companion(path, patience=min(timeout, _LONGEST_PATIENCE), clock=clock)
    if lost is not None:
        raise StoreUnavailable(
            f"Another process has {url} open, and {lost.name} was deleted meanwhile",
            hint="Stop that process first: it saves what was committed. Then try again.",
        )


def note_files(path: Path, store_id: str) -> None:
    """Note to which store and which file the ``-wal`` belongs that is being written."""
    text = json.dumps({"store_id": store_id, "file": _number(path), "wal": _number(_wal(path))})
    note = text.ljust(_NOTE_LENGTH).encode()
    with suppress(OSError):  # a full disk is told of by what is to be written
        file = open_or_make(_note_path(path), mode=mode_of(path))
        try:
            if os.pread(file, len(note), 0) != note:
                os.pwrite(file, note, 0)
        finally:
            os.close(file)


def forget_files(path: Path) -> None:
    """Remove the note, unless there still is a ``-wal``."""
    with suppress(OSError):
        if not _wal(path).exists():
            _note_path(path).unlink(missing_ok=True)


def move_note(path: Path, aside: Path) -> None:
    """Keep the note with the files it is about."""
    with suppress(FileNotFoundError):
        _note_path(path).rename(_note_path(aside))


def _refuse_orphans(path: Path, url: str) -> None:
    wal = _wal(path)
    with suppress(OSError):
        if wal.stat().st_size and not path.exists():  # it comes before its ``-wal``
            raise StoreUnavailable(
                f"There is no file at {url}, but {wal.name} is there, with the last events of one",
                hint=f"Put the file back, or if nobody needs it: rm {wal}",
            )


def _refuse_foreign_wal(path: Path) -> None:
    """Compare the note with what lies there, without letting SQLite look at the ``-wal``."""
    wal = _wal(path)
    try:
        if not wal.stat().st_size:
            return
        note: Any = json.loads(_note_path(path).read_bytes())
        owner, file, its_wal = note["store_id"], note["file"], note["wal"]
    except (OSError, ValueError, TypeError, KeyError):
        return
    if is_open_here(path):  # so it was compared then
        return
    # Files that were copied together, with the note, have both got other numbers.
    replaced = file != _number(path) and its_wal == _number(wal)
    if replaced or _find_store_id(path) not in {None, owner}:
        raise StoreUnavailable(
            f"{path.name} has taken the place of another file, whose last events are in {wal.name}",
            hint=f"Put that file back to keep them. To go on without them: rm {wal} {path}-shm",
        )


def _find_store_id(path: Path) -> str | None:
    try:
        with closing(connect(path, mode="ro&immutable=1")) as alone:
            row = alone.execute("SELECT value FROM store WHERE key = 'store_id'").fetchone()
    except sqlite3.Error:  # told when it is opened
        return None
    return None if row is None else str(row[0])


def _number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.writing")
