"""Event ids, and how a stored one is found without an index over all of them.

An id that eskit makes itself, while it appends, begins with the time, and the times at which events
were recorded only grow: so it can be looked for where the log has its time. All other ids, those
that were given, are kept in a table. An index over all would slow down every append for what hardly
any append asks.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from eskit.domain.events import EventRow
from eskit.sqlite.connections import Runs
from eskit.store.sqlite.queries import query

NEAR = 100
"""Milliseconds that an own id may be from the time at which its event was recorded."""
_OWN_VERSION = 7
_FIRST_STEP = 4


def tells_time(event_id: bytes, recorded_at: int) -> bool:
    """Whether an event is found by the time in its id."""
    if event_id[6] >> 4 != _OWN_VERSION:
        return False
    return -NEAR <= int.from_bytes(event_id[:6], "big") - recorded_at // 1000 <= NEAR


def keep_id(database: Runs, event_id: bytes, position: int) -> None:
    """Let an event be found that has a given id."""
    database.execute(query("save_event_id"), (event_id, position))


def find_event(database: Runs, event_id: bytes, head: tuple[int, int]) -> EventRow | None:
    """The event with an id; `head` is position and time of the last event of the log."""
    row = database.execute(query("find_event_id"), (event_id,)).fetchone()
    if row is not None:
        return _load(database, event_id, row[0], row[0])
    if event_id[6] >> 4 != _OWN_VERSION:
        return None
    milliseconds = int.from_bytes(event_id[:6], "big")
    first = _first_since(database, (milliseconds - NEAR) * 1000, head)
    if first > head[0]:
        return None
    last = _first_since(database, (milliseconds + NEAR + 1) * 1000, head) - 1
    return _load(database, event_id, first, last)


def add_functions(connection: sqlite3.Connection) -> None:
    """Let the statements of a connection ask whether an event is found by its id's time."""
    connection.create_function("tells_time", 2, _tells_time, deterministic=True)


def _tells_time(event_id: bytes, recorded_at: int) -> int:
    with suppress(TypeError, IndexError):  # where something else stands than was written
        return int(tells_time(event_id, recorded_at))
    return 0


def _load(database: Runs, event_id: bytes, first: int, last: int) -> EventRow | None:
    row = database.execute(query("find_by_id"), (event_id, first, last)).fetchone()
    return None if row is None else EventRow(*row)


def _first_since(database: Runs, time: int, head: tuple[int, int]) -> int:
    """A position behind all events recorded before `time`, and before none since then.

    Looked for from the end of the log, where most that is asked for lies.
    """
    position, recorded_at = head
    above, step = position + 1, _FIRST_STEP
    below = position
    while below > 0 and recorded_at >= time:
        above = below
        below = max(below - step, 0)
        step *= 2
        below, recorded_at = _last_up_to(database, below)
    while above - below > 1:
        middle = (above + below) // 2
        found, recorded_at = _last_up_to(database, middle)
        if recorded_at >= time and found > below:
            above = found
        else:
            below = middle
    return above


def _last_up_to(database: Runs, position: int) -> tuple[int, int]:
    """Position and time of the last event up to a position; zeros if there is none."""
    row = database.execute(query("find_time_up_to"), (position,)).fetchone()
    return row or (0, 0)
