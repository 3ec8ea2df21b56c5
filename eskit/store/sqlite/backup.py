"""A copy of the file while others write, checked before it gets its name."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from uuid import uuid4

from eskit.domain.events import EventRow
from eskit.errors import StoreDamaged, StoreError
from eskit.files.atomic import put_in_place, remove_database, unfinished
from eskit.files.modes import make_if_missing
from eskit.sqlite.connections import begin_reading, connect
from eskit.sqlite.errors import primary_code, store_error, translated
from eskit.sqlite.interrupting import let_interrupt
from eskit.store.corruption import check_log, readable
from eskit.store.port import Check
from eskit.store.records import CommandRow
from eskit.store.reports import BackupReport, Progress, ReportProgress
from eskit.store.sqlite.view import SqliteView

_PAGES = 256
_TRY_AGAIN = "Check the disk, and try again."


def back_up(
    path: Path,
    target: Path,
    *,
    url: str,
    origin: str,
    mode: str,
    file_mode: int,
    progress: ReportProgress,
    damaged: bool = False,
) -> BackupReport:
    """Copy the store to `target`, which must not exist; a damaged one only if it may be `damaged`.

    The copy is made under another name and renamed when it is checked: what is called `target`
    is whole. It has a store id of its own, so that checkpoints notice when it takes the place
    of its original.
    """
    with unfinished(target) as partial:
        report = copy_checked(
            path,
            partial,
            url=url,
            origin=origin,
            mode=mode,
            file_mode=file_mode,
            progress=progress,
            damaged=damaged,
        )
        put_in_place(partial, target)
    return replace(report, path=target, bytes=target.stat().st_size)


def copy_checked(
    path: Path,
    partial: Path,
    *,
    url: str,
    origin: str,
    mode: str,
    file_mode: int,
    progress: ReportProgress,
    damaged: bool = False,
) -> BackupReport:
    """Copy the store to an unfinished file, check it, and give it a store id; or leave nothing."""
    remove_database(partial)
    with suppress(OSError):  # told by SQLite
        make_if_missing(partial, mode=file_mode)
    try:
        return _copy(
            path,
            partial,
            url=url,
            origin=origin,
            mode=mode,
            progress=progress,
            damaged=damaged,
        )
    except (StoreError, KeyboardInterrupt):  # nothing goes on from what has been copied
        remove_database(partial)
        raise


def _copy(
    path: Path,
    partial: Path,
    *,
    url: str,
    origin: str,
    mode: str,
    progress: ReportProgress,
    damaged: bool,
) -> BackupReport:
    with _open(partial, mode="rwc") as copy, _open(path, mode=mode, url=url) as original:
        # The open transaction keeps the copy at one moment, however long it takes.
        with translated(url), _naming_who_is_full(partial):
            begin_reading(original)
            original.backup(copy, pages=_PAGES, progress=_report(progress))
        views = SqliteView(copy, str(partial)), SqliteView(original, url)
        head = _check(*views, url, damaged=damaged)
        with translated(str(partial)):
            return _finish(copy, partial, origin=origin, head=head)


def _check(copy: SqliteView, original: SqliteView, url: str, *, damaged: bool) -> int:
    """The head of a copy; StoreDamaged if it is not whole, which says if the original is not."""
    problem = _find_problem(copy)
    its_own = _find_problem(original) if problem else ""
    if problem and not (damaged and its_own):
        if its_own:
            raise StoreDamaged(f"{url} is damaged, so no backup was made: {its_own}")
        raise StoreDamaged(f"The copy is damaged: {problem}", hint=_TRY_AGAIN)
    head = original.head()
    if copy.head() != head:
        message = f"The copy ends at {copy.head():,}, its original at {head:,}"
        raise StoreDamaged(message, code="STORE_NOT_RECOGNISED", hint=_TRY_AGAIN)
    return head


@contextmanager
def _open(path: Path, *, mode: str, url: str = "") -> Iterator[sqlite3.Connection]:
    with translated(url or str(path)):
        connection = connect(path, mode=mode)
        let_interrupt(connection)
    with closing(connection):
        yield connection


def _finish(copy: sqlite3.Connection, partial: Path, *, origin: str, head: int) -> BackupReport:
    """Give a copy its identity, and everything to the file of that name."""
    store_id = str(uuid4())
    copy.execute("BEGIN IMMEDIATE")
    values = {"store_id": store_id, "copied_from": origin, "copied_at_head": str(head)}
    copy.executemany("INSERT OR REPLACE INTO store (key, value) VALUES (?, ?)", values.items())
    copy.execute("COMMIT")
    copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return BackupReport(
        path=partial,
        store_id=store_id,
        origin=origin,
        events=SqliteView(copy, str(partial)).count(EventRow),
        head=head,
        bytes=partial.stat().st_size,
    )


@contextmanager
def _naming_who_is_full(partial: Path) -> Iterator[None]:
    """SQLite copies from one file into another and tells not which of them an error is about."""
    try:
        yield
    except sqlite3.Error as error:
        if primary_code(error) == sqlite3.SQLITE_FULL:
            raise store_error(error, str(partial)) from error
        raise


def _report(progress: ReportProgress) -> Callable[[int, int, int], None]:
    def report(_status: int, remaining: int, total: int) -> None:
        progress(Progress(name="copy", done=total - remaining, total=total))

    return report


def _find_problem(view: SqliteView) -> str:
    """The first thing that is wrong with a store; empty if pages, indexes and events are whole."""
    try:
        for problem in chain(view.check(Check.STORAGE), view.check(Check.PARTS)):
            return problem.text
        check_log(view)
        deque(chain(readable(view.events()), view.rows(CommandRow)), maxlen=0)
    except StoreDamaged as error:
        return str(error.__cause__ or error)  # the message of a cause would name the store again
    return ""
