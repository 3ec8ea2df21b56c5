"""Forgetting commands whose time to live is over, but for those that a follower still needs."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby

from eskit.domain.commands import first_reaction_id
from eskit.domain.time import from_microseconds
from eskit.operations.aging import Span, forgotten_before
from eskit.store.eventstore import EventStore
from eskit.store.port import View
from eskit.store.records import FOLLOWER, LETTER, CommandRow, Record
from eskit.store.reports import PrunedCommands

_AT_ONCE = 10_000


def prune_commands(store: EventStore, *, dry_run: bool = False) -> PrunedCommands:
    """Forget the commands whose time to live is over; with `dry_run` only count them.

    Nothing else does, so that until then a resend is answered whatever clocks say; see
    `eskit.operations.aging` for how their age is counted. Those of a reaction stay until it has
    passed the events that it sent them for.
    """
    ttl = store.about().command_ttl // timedelta(microseconds=1)
    now = store.clock.microseconds()
    with store.view() as view:
        before = forgotten_before(now, ttl, _spans(view, now))
        needed = _needed_ids(view)
        found = {"": 0}
        for command in _older(view, before):
            for name in count_needed([command.id], needed) or ("",):
                found[name] = found.get(name, 0) + 1
        free = found.pop("")
        pruned = free if dry_run else _drop(store, view, before)
    return PrunedCommands(
        commands=pruned, before=from_microseconds(before) if before else None, needed=found
    )


def _spans(view: View, now: int) -> Iterator[Span]:
    """The times at which commands were recorded, the latest first, those of the future left out.

    Eight bytes for each command: a million take eight megabytes.
    """
    recorded = (command.recorded_at for command in view.rows(CommandRow))
    times = array("q", (time for time in recorded if time <= now))
    for time, _ in groupby(sorted(times, reverse=True)):
        yield time, time


def _older(view: View, before: int) -> Iterator[CommandRow]:
    return (command for command in view.rows(CommandRow) if command.recorded_at < before)


def _drop(store: EventStore, view: View, before: int) -> int:
    """Some in each transaction, so that no writer waits for all of them."""
    pruned, batch = 0, list[CommandRow]()
    for command in _older(view, before):
        batch.append(command._replace(response=b""))
        if len(batch) == _AT_ONCE:
            pruned += _drop_batch(store, batch)
            batch = []
    return pruned + _drop_batch(store, batch)


def _drop_batch(store: EventStore, batch: Sequence[CommandRow]) -> int:
    if not batch:
        return 0
    with store.view(exclusive=True) as view:
        needed = _needed_ids(view)  # again: a follower may have begun anew meanwhile
        free = [command for command in batch if not count_needed([command.id], needed)]
        view.drop(free)
    return len(free)


def _needed_ids(view: View) -> list[tuple[str, str, str]]:
    records = list(view.rows(Record))
    followers, letters = (
        [(record.key, record.value) for record in records if record.kind == kind]
        for kind in (FOLLOWER, LETTER)
    )
    return needed_ids(followers, letters)


def needed_ids(
    followers: Iterable[tuple[str, str]], letters: Iterable[tuple[str, str]]
) -> list[tuple[str, str, str]]:
    """Which ids of commands must not be forgotten: follower, from a first id to before another.

    They are those of commands that the follower would send again: it has not passed their events,
    or has set them aside and nobody has decided about them. Of each record there are the key and
    the value; one that cannot be read says nothing of what was passed.
    """
    passed = {name: _low(value) for name, value in followers}
    found = [
        (name, first_reaction_id(name, low + 1), first_reaction_id(name, None))
        for name, low in passed.items()
    ]
    for key, value in letters:
        name, _, at = key.partition(" ")
        position = int(at)
        if json.loads(value)["decision"] is None and position <= passed.get(name, position):
            behind = first_reaction_id(name, position + 1)
            found.append((name, first_reaction_id(name, position), behind))
    return found


def _low(value: str) -> int:
    try:
        return int(json.loads(value)["low"])
    except (KeyError, TypeError, ValueError):
        return 0


def count_needed(
    command_ids: Iterable[str], needed: Sequence[tuple[str, str, str]]
) -> dict[str, int]:
    """How many of the commands each follower needs; without those that need none."""
    found: dict[str, int] = {}
    for command_id in command_ids:
        for name, first, behind in needed:
            if first <= command_id < behind:
                found[name] = found.get(name, 0) + 1
    return found
