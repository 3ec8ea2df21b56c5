"""Reads in pages: each page is one short transaction, none stays open between pages.

A page is bounded in rows and in bytes, so that large events do not fill the memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

from eskit.domain.events import EventRow, FoldRow, LogRow
from eskit.sqlite.connections import ReaderPool
from eskit.sqlite.errors import translated
from eskit.store.damage import missing_version
from eskit.store.sqlite.queries import merged, query

_FIRST_PAGE, _LARGEST_PAGE = 64, 1024
_PAGE_BYTES = 4 * 1024 * 1024
_MOST_MERGED = 100
Row = TypeVar("Row", EventRow, FoldRow, LogRow)


# Four times as fast as `_make`, which is written in Python; rows are read by the million.
event_row = partial(tuple.__new__, EventRow)
_fold_row = partial(tuple.__new__, FoldRow)
_log_row = partial(tuple.__new__, LogRow)


def page_sizes() -> Iterator[int]:
    """How many rows to ask for next: few at first, for small streams."""
    size = _FIRST_PAGE
    while True:
        yield size
        size = min(size * 4, _LARGEST_PAGE)


def _page(
    cursor: sqlite3.Cursor, row_of: Callable[[tuple[Any, ...]], Row], size: int
) -> tuple[list[Row], bool]:
    """Up to so many rows, ending with the one that makes them too large; whether more may come."""
    page: list[Row] = []
    left, append = _PAGE_BYTES, page.append
    with closing(cursor):  # one that is not read to its end keeps its transaction open
        for row in map(row_of, cursor):
            append(row)
            try:
                left -= len(row.data)  # type: ignore[arg-type]
            except TypeError:
                continue  # erased; and a damaged row may hold anything
            if left < 0:
                return page, True
    return page, len(page) == size


def read_stream(
    pool: ReaderPool,
    url: str,
    stream: str,
    tenant: str,
    *,
    after: int,
    before: int,
    limit: int,
    backward: bool,
) -> Iterator[list[EventRow]]:
    """Pages of one stream."""
    statement = query("read_stream_backward" if backward else "read_stream")
    stream_id: int | None = None
    for size in page_sizes():
        with translated(url), pool.borrow() as connection:
            if stream_id is None:
                stream_id = _stream_id(connection, stream, tenant)
                if stream_id is None:
                    return
            most = min(size, limit)
            parameters = (stream_id, after, before, most, stream, tenant)
            page, more = _page(connection.execute(statement, parameters), event_row, most)
        limit -= len(page)
        if page:
            yield page
        if not (more and limit):
            return
        if backward:
            before = page[-1].version
        else:
            after = page[-1].version


def read_fold_rows(
    pool: ReaderPool, url: str, stream: str, tenant: str, *, after: int, before: int
) -> Iterator[list[FoldRow]]:
    """Pages of one stream with what folding needs; StoreDamaged where versions are missing.

    A state that was folded without some of its events would be a wrong one, and nobody would see.
    """
    stream_id: int | None = None
    for size in page_sizes():
        with translated(url), pool.borrow() as connection:
            stream_id = stream_id or _stream_id(connection, stream, tenant)
            if stream_id is None:
                return
            parameters = (stream_id, after, before, size)
            cursor = connection.execute(query("read_fold_rows"), parameters)
            page, more = _page(cursor, _fold_row, size)
        # Versions only grow, so the last one tells whether all before it are there.
        if page and page[-1].version != after + len(page):
            expected = enumerate(page, start=after + 1)
            raise missing_version(stream, next(v for v, row in expected if row.version != v))
        yield page
        if not more:
            return
        after = page[-1][0]


def read_log(
    pool: ReaderPool,
    url: str,
    *,
    after: int,
    before: int,
    limit: int,
    backward: bool,
    categories: Sequence[str],
    event_types: Sequence[str],
    tenants: Sequence[str],
) -> Iterator[list[EventRow]]:
    """Pages of the log, filtered."""
    tenants_json = json.dumps(list(tenants)) if tenants else None
    for size in page_sizes():
        with translated(url), pool.borrow() as connection:
            most = min(size, limit)
            bounds = after, before, most, tenants_json
            if categories or event_types:
                page, more = _page_of_kinds(
                    connection,
                    bounds,
                    backward=backward,
                    categories=categories,
                    event_types=event_types,
                )
            else:
                statement = query("read_log_backward" if backward else "read_log")
                page, more = _page(connection.execute(statement, bounds), event_row, most)
        limit -= len(page)
        if page:
            yield page
        if not (more and limit):
            return
        if backward:
            before = page[-1].global_position
        else:
            after = page[-1][0]


def read_log_rows(
    pool: ReaderPool,
    url: str,
    *,
    after: int,
    before: int,
    limit: int,
    event_types: Sequence[str],
) -> Iterator[list[LogRow]]:
    """Pages of the log forward, with what handling needs."""
    for size in page_sizes():
        with translated(url), pool.borrow() as connection:
            page, more = _page_of_rows(connection, (after, before, min(size, limit)), event_types)
        limit -= len(page)
        if page:
            yield page
        if not (more and limit):
            return
        after = page[-1][0]


def _page_of_kinds(
    connection: sqlite3.Connection,
    bounds: tuple[int, int, int, str | None],
    *,
    backward: bool,
    categories: Sequence[str],
    event_types: Sequence[str],
) -> tuple[list[EventRow], bool]:
    kinds = _begin_with_kinds(connection, categories, event_types)
    if not kinds:
        return [], False
    if len(kinds) > _MOST_MERGED:
        statement = query("read_kinds_backward" if backward else "read_kinds")
        cursor = connection.execute(statement, (*bounds, json.dumps(kinds)))
    else:
        statement = merged("read_kind", len(kinds), first=5, backward=backward)
        cursor = connection.execute(statement, (*bounds, *kinds))
    return _page(cursor, event_row, bounds[2])


def _page_of_rows(
    connection: sqlite3.Connection, bounds: tuple[int, int, int], event_types: Sequence[str]
) -> tuple[list[LogRow], bool]:
    kinds = _begin_with_kinds(connection, (), event_types)
    if not kinds:
        return [], False
    if len(kinds) > _MOST_MERGED:
        cursor = connection.execute(query("read_rows_of_kinds"), (*bounds, json.dumps(kinds)))
    else:
        statement = merged("read_row_of_kind", len(kinds), first=4)
        cursor = connection.execute(statement, (*bounds, *kinds))
    return _page(cursor, _log_row, bounds[2])


def _begin_with_kinds(
    connection: sqlite3.Connection, categories: Sequence[str], event_types: Sequence[str]
) -> list[int]:
    """The kinds that pass the filters, in a transaction that the read of their events shares.

    From one snapshot: a kind that is new since the last page must not be passed over while later
    events of the others are returned.
    """
    connection.execute("BEGIN")
    return [
        kind_id
        for kind_id, category, event_type in connection.execute(query("list_kinds"))
        if (not categories or category in categories)
        and (not event_types or event_type in event_types)
    ]


def _stream_id(connection: sqlite3.Connection, stream: str, tenant: str) -> int | None:
    row = connection.execute(query("find_stream_id"), (stream, tenant)).fetchone()
    return None if row is None else int(row[0])
