"""Dead letters, skips and effects in a read-model file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from eskit.clock import Clock
from eskit.domain.time import from_microseconds, to_microseconds
from eskit.projections.records import DeadLetter, Effect, Skip
from eskit.projections.sqlite.connection import translated
from eskit.projections.sqlite.sql import query


class RecordRows:
    """The part of a read model that keeps what was set aside, skipped or is to be called."""

    path: Path
    clock: Clock
    _connection: sqlite3.Connection

    def find_dead_letters(self, name: str) -> list[DeadLetter]:
        """The dead letters of a projection, by position."""
        with translated(self.path):
            return find_dead_letters(self._connection, name)

    def save_dead_letter(self, letter: DeadLetter) -> None:
        """Keep a dead letter, instead of an earlier one for the same event."""
        row = (
            letter.projection,
            letter.position,
            letter.event_id,
            letter.event_type,
            letter.stream,
            letter.tenant,
            letter.state,
            letter.holds_stream,
            letter.attempts,
            letter.error,
            letter.traceback,
            to_microseconds(letter.since),
        )
        with translated(self.path):
            self._connection.execute(query("save_dead_letter"), row)

    def delete_dead_letter(self, name: str, position: int) -> None:
        """Forget a dead letter that was handled or skipped."""
        with translated(self.path):
            self._connection.execute(query("delete_dead_letter"), (name, position))

    def find_skips(self, name: str) -> list[Skip]:
        """The events that a projection skips, by position."""
        with translated(self.path):
            return find_skips(self._connection, name)

    def save_skip(self, skip: Skip) -> None:
        """Keep a decision to skip an event."""
        row = (
            skip.projection,
            skip.event_id,
            skip.position,
            skip.event_type,
            skip.stream,
            skip.reason,
            skip.decided_by,
            to_microseconds(skip.decided_at),
        )
        with translated(self.path):
            self._connection.execute(query("save_skip"), row)

    def find_effects(self, name: str) -> list[Effect]:
        """The effects that were not called yet, or failed."""
        with translated(self.path):
            return find_effects(self._connection, name)

    def save_effect(self, effect: Effect) -> bool:
        """Record an effect; False if it is recorded already."""
        row = (
            effect.projection,
            effect.event_id,
            effect.name,
            effect.position,
            effect.function,
            effect.arguments,
        )
        with translated(self.path):
            return self._connection.execute(query("save_effect"), row).rowcount == 1

    def fail_effect(self, effect: Effect) -> None:
        """Keep why a call did not go well."""
        row = (effect.attempts, effect.error, effect.projection, effect.event_id, effect.name)
        with translated(self.path):
            self._connection.execute(query("fail_effect"), row)

    def finish_effect(self, effect: Effect) -> None:
        """Keep that a call was made, so that it is not made again."""
        row = (self.clock.microseconds(), effect.projection, effect.event_id, effect.name)
        with translated(self.path):
            self._connection.execute(query("finish_effect"), row)


def find_dead_letters(connection: sqlite3.Connection, name: str) -> list[DeadLetter]:
    """The dead letters of a projection, by position."""
    return [
        DeadLetter(
            projection=row[0],
            position=row[1],
            event_id=row[2],
            event_type=row[3],
            stream=row[4],
            tenant=row[5],
            state=row[6],
            holds_stream=bool(row[7]),
            attempts=row[8],
            error=row[9],
            traceback=row[10],
            since=from_microseconds(row[11]),
        )
        for row in connection.execute(query("find_dead_letters"), (name,))
    ]


def find_skips(connection: sqlite3.Connection, name: str) -> list[Skip]:
    """The events that a projection skips, by position."""
    return [
        Skip(
            projection=row[0],
            event_id=row[1],
            position=row[2],
            event_type=row[3],
            stream=row[4],
            reason=row[5],
            decided_by=row[6],
            decided_at=from_microseconds(row[7]),
        )
        for row in connection.execute(query("find_skips"), (name,))
    ]


def find_effects(connection: sqlite3.Connection, name: str) -> list[Effect]:
    """The effects of a projection that were not called yet, or failed; by position."""
    return [
        Effect(
            projection=row[0],
            event_id=row[1],
            name=row[2],
            position=row[3],
            function=row[4],
            arguments=row[5],
            attempts=row[6],
            error=row[7],
        )
        for row in connection.execute(query("find_effects"), (name,))
    ]
