"""Putting a backup in the place of a store, with nothing of the old one left under its name."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from eskit.clock import SYSTEM_CLOCK
from eskit.domain.events import EventRow
from eskit.errors import InvalidArgument, StoreError, StoreUnavailable
from eskit.files.atomic import making, put_in_place
from eskit.files.modes import mode_of
from eskit.sqlite.connections import connect
from eskit.sqlite.errors import translated
from eskit.sqlite.leftovers import move_note
from eskit.sqlite.place import find_status, may_not_be_read
from eskit.sqlite.url import sqlite_url
from eskit.sqlite.usage import is_in_use, is_locked
from eskit.store.reports import ReplacedStore, ReportProgress, RestoreReport
from eskit.store.sqlite.backup import copy_checked
from eskit.store.sqlite.leftovers import check_beside
from eskit.store.sqlite.opening import open_file
from eskit.store.sqlite.view import SqliteView

_TIMEOUT = 5.0


def replace_file(
    backup: Path, path: Path, url: str, *, dry_run: bool, file_mode: int, progress: ReportProgress
) -> RestoreReport:
    """See `eskit.operations.files.restore`."""
    target = Path(os.path.realpath(path))  # a link goes on leading there
    _refuse_itself(backup, target)
    origin, events, head = _look_into(backup)
    _refuse_in_use(target, url)
    if dry_run:
        return _report(url, origin, origin, events, head, _find_replaced(target, url))
    with making(target) as partial:
        copied = copy_checked(
            backup,
            partial,
            url=str(backup),
            origin=origin,
            mode="rw",
            file_mode=mode_of(target, file_mode),
            progress=progress,
        )
        _refuse_in_use(target, url)
        replaced = _find_replaced(target, url)
        if replaced is not None and replaced.head is not None:
            is_in_use(target)  # its last events are in the file itself then, not beside it
        put_in_place(partial, target, aside=_free_name(target))
        if replaced is not None:
            move_note(target, replaced.path)
    return _report(url, copied.store_id, origin, copied.events, copied.head, replaced)


def _report(
    url: str, store_id: str, origin: str, events: int, head: int, replaced: ReplacedStore | None
) -> RestoreReport:
    return RestoreReport(
        url=url, store_id=store_id, origin=origin, events=events, head=head, replaced=replaced
    )


def _refuse_itself(backup: Path, target: Path) -> None:
    with suppress(OSError):
        if backup.samefile(target):
            raise InvalidArgument(
                f"{backup} is the store itself", hint="Name a file that store backup has made."
            )


def _look_into(backup: Path) -> tuple[str, int, int]:
    """The store id, the number of events and the head of a backup."""
    if find_status(backup, str(backup)) is None:
        raise StoreUnavailable(
            f"There is no backup at {backup}", hint="Name a file that store backup has made."
        )
    try:
        with translated(str(backup)):
            opened = open_file(
                backup,
                str(backup),
                create=False,
                timeout=_TIMEOUT,
                file_mode=mode_of(backup),
                clock=SYSTEM_CLOCK,
            )
            with closing(connect(backup, mode=opened.read_mode)) as connection:
                view = SqliteView(connection, str(backup))
                return opened.store_id, view.count(EventRow), view.head()
    except StoreError as error:
        if error.code != "SCHEMA_OUTDATED":
            raise
        raise StoreError(
            error.message,
            code="SCHEMA_OUTDATED",
            hint=f"Run: eskit store migrate --store {sqlite_url(backup)}",
        ) from error


def _refuse_in_use(target: Path, url: str) -> None:
    if find_status(target, url) is None:
        return
    try:
        in_use = is_locked(target)
    except OSError as error:
        raise may_not_be_read(url) from error
    if in_use:
        raise StoreUnavailable(
            f"{url} is open in another process",
            hint="Stop what uses it, such as eskit serve, then restore.",
        )


def _find_replaced(target: Path, url: str) -> ReplacedStore | None:
    """What is in the place of the backup, without a change to it; nobody has it open."""
    if not os.path.lexists(target):
        return None
    events = head = None
    # Reading, SQLite leaves a ``-wal`` where there was none, unless told that nobody writes.
    mode = "ro" if Path(f"{target}-wal").exists() else "ro&immutable=1"
    with suppress(StoreError, sqlite3.Error):
        check_beside(target, url, timeout=_TIMEOUT)
        with translated(url), closing(connect(target, mode=mode)) as connection:
            view = SqliteView(connection, url)
            events, head = view.count(EventRow), view.head()
    return ReplacedStore(path=_free_name(target), events=events, head=head)


def _free_name(target: Path) -> Path:
    """``bank.db.replaced``, with a number if that is taken."""
    number = 1
    while True:
        mark = "" if number == 1 else f"-{number}"
        name = target.with_name(f"{target.name}.replaced{mark}")
        if not any(os.path.lexists(f"{name}{suffix}") for suffix in ("", "-wal")):
            return name
        number += 1
