"""A copy of the file while others write, checked before it gets its name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from eskit.errors import StoreError, StoreNotRecognised
from eskit.store.maintenance import BackupReport
from eskit.store.progress import Progress, ReportProgress
from eskit.store.publishing import publish, remove_store_files, unfinished
from eskit.store.sqlite.connections import connect
from eskit.store.sqlite.errors import primary_code, store_error, translated
from eskit.store.sqlite.view import SqliteView

_PAGES = 256


def back_up(
    path: Path, target: Path, *, url: str, origin: str, mode: str, progress: ReportProgress
) -> BackupReport:
    """Copy the store to `target`, which must not exist.

    The copy is made under another name and renamed when it is checked: what is called `target`
    is whole. It has a store id of its own, so that checkpoints notice when it takes the place
    of its original.
    """
    with unfinished(target) as partial:
        remove_store_files(partial)
        try:
            report = _copy(path, partial, url=url, origin=origin, mode=mode, progress=progress)
        except StoreError:
            remove_store_files(partial)
            raise
        publish(partial, target)
    return replace(report, path=target, bytes=target.stat().st_size)


def _copy(
    path: Path, partial: Path, *, url: str, origin: str, mode: str, progress: ReportProgress
) -> BackupReport:
    store_id = str(uuid4())
    with translated(str(partial)), closing(connect(partial, mode="rwc")) as copy:
        with translated(url), closing(connect(path, mode=mode)) as original:
            # The open transaction keeps the copy at one moment, however long it takes.
            original.execute("BEGIN")
            head = SqliteView(original, url).head_position()
            with _naming_who_is_full(partial):
                original.backup(copy, pages=_PAGES, progress=_report(progress))
        copy.execute("BEGIN IMMEDIATE")
        values = {"store_id": store_id, "copied_from": origin, "copied_at_head": str(head)}
        copy.executemany("INSERT OR REPLACE INTO store (key, value) VALUES (?, ?)", values.items())
        copy.execute("COMMIT")
        events = _check(SqliteView(copy, str(partial)), head)
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return BackupReport(
        path=partial,
        store_id=store_id,
        origin=origin,
        events=events,
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


def _check(view: SqliteView, head: int) -> int:
    for problem in view.find_damage():
        raise StoreNotRecognised(
            f"The copy is damaged: {problem}",
            hint="Check the original: eskit store verify",
        )
    if view.head_position() != head:
        raise StoreNotRecognised(
            f"The copy ends at {view.head_position()}, its original at {head}",
            hint="Check the disk, and try again.",
        )
    return view.count_events()
