"""The ``-wal`` that lies beside a database before it is opened: does it belong to that file?

It says nothing of the database it belongs to. SQLite replays it into whatever bears the name, such
as a backup that was put there after a crash. So a process that writes leaves a note,
``bank.db.writing``, of whose database it is and of both files; one that is closed leaves none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from eskit.files.descriptors import is_open_here
from eskit.files.modes import mode_of, open_or_make

_NOTE_LENGTH = 256


def note_files(path: Path, owner: str = "") -> None:
    """Note to which database and which file the ``-wal`` belongs that is being written."""
    text = json.dumps({"owner": owner, "file": _number(path), "wal": _number(wal_of(path))})
    note = text.ljust(_NOTE_LENGTH).encode()
    with suppress(OSError):  # the next write reports a full disk
        file = open_or_make(_note_path(path), mode=mode_of(path))
        try:
            if os.pread(file, len(note), 0) != note:
                os.pwrite(file, note, 0)
        finally:
            os.close(file)


def forget_files(path: Path) -> None:
    """Remove the note, unless there still is a ``-wal``."""
    with suppress(OSError):
        if not wal_of(path).exists():
            _note_path(path).unlink(missing_ok=True)


def move_note(path: Path, aside: Path) -> None:
    """Keep the note with the files it is about."""
    with suppress(FileNotFoundError):
        _note_path(path).rename(_note_path(aside))


def find_foreign_wal(
    path: Path, find_owner: Callable[[Path], str | None] | None = None
) -> Path | None:
    """The ``-wal`` of a file whose place another has taken, if that is what lies there.

    SQLite is not let look at it. `find_owner` says whose the database is, without its ``-wal``.
    """
    wal = wal_of(path)
    try:
        if not wal.stat().st_size:
            return None
        note: Any = json.loads(_note_path(path).read_bytes())
        owner, file, its_wal = note["owner"], note["file"], note["wal"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    # Files that were copied together, with the note, have both got other numbers.
    replaced = file != _number(path) and its_wal == _number(wal)
    if (not replaced and find_owner is None) or is_open_here(path):  # so it was compared then
        return None
    if replaced:
        return wal
    return wal if find_owner is not None and find_owner(path) not in {None, owner} else None


def wal_of(path: Path) -> Path:
    """The write-ahead log beside a database."""
    return Path(f"{path}-wal")


def _number(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.writing")
