"""What a log must be like to be handed on, and the error where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from eskit.domain.events import EventRow
from eskit.errors import InvalidArgument, StoreDamaged
from eskit.store.adding import read_claims
from eskit.store.port import Check, Problem, StreamKey, View
from eskit.store.records import CommandRow


def find_gaps(rows: Iterable[EventRow]) -> Iterator[Problem]:
    """Where versions do not count up, for a store that has to look at every event."""
    versions: dict[StreamKey, int] = {}
    for row in rows:
        key = row.stream, row.tenant
        previous = versions.get(key, 0)
        if row.version != previous + 1:
            yield gap(*key, row.version, row.global_position, previous)
        versions[key] = row.version


def gap(stream: str, tenant: str, version: int, position: int, previous: int) -> Problem:
    """A version that does not follow the one before it."""
    text = f"Version {version} of {stream} follows version {previous}"
    if version == previous + 1:
        text = f"Version {version} of {stream} comes before the one it follows"
    return Problem(text, stream, tenant, position)


def find_lost_commands(
    commands: Iterable[CommandRow], streams: Mapping[StreamKey, Sequence[EventRow]]
) -> Iterator[Problem]:
    """Commands whose event is not in its stream."""
    for row in commands:
        if len(streams.get((row.stream, row.tenant), ())) < row.version:
            yield lost_command(row.id, row.stream, row.tenant, row.version, row.global_position)


def lost_command(command_id: str, stream: str, tenant: str, version: int, position: int) -> Problem:
    """A remembered command that led to an event which the log does not have."""
    text = (
        f"Command {command_id!r} led to version {version} of {stream} at {position:,}, "
        "which is not there"
    )
    return Problem(text, stream, tenant, position)


def check_log(view: View, *, streams: Sequence[StreamKey] = ()) -> None:
    """Raise StoreDamaged if events are missing or are not what was recorded.

    With `streams`, pairs of name and tenant, only if it concerns one of them. Three passes over
    the log, none of which decodes anything.
    """
    for problem in _problems(view):
        if not streams or not problem.stream or (problem.stream, problem.tenant) in streams:
            raise StoreDamaged(problem.text)


def readable(records: Iterable[EventRow]) -> Iterator[EventRow]:
    """The records; StoreDamaged for claims that cannot be read, or an event out of its place."""
    position = recorded_at = 0
    for record in records:
        if record.global_position <= position:
            raise StoreDamaged(f"Position {record.global_position:,} comes after {position:,}")
        if record.recorded_at < recorded_at:
            raise StoreDamaged(
                f"The event at {record.global_position:,} is older than the one before it"
            )
        if record.claims is not None:
            _check_claims(record)
        position, recorded_at = record.global_position, record.recorded_at
        yield record


def find_loss(view: View) -> str:
    """A sentence on an event that is missing, as later ones and commands tell; empty for none."""
    return next((problem.text for problem in _losses(view)), "")


def _check_claims(record: EventRow) -> None:
    try:
        read_claims(record)
    except InvalidArgument as error:
        raise StoreDamaged(error.message) from error


def _problems(view: View) -> Iterator[Problem]:
    yield from view.check(Check.LOG_VALUES)
    yield from _losses(view)
    yield from view.check(Check.EVENTS)


def _losses(view: View) -> Iterator[Problem]:
    yield from view.check(Check.VERSIONS)
    yield from view.check(Check.LOST_COMMANDS)
