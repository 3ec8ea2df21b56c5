"""What a log must be like to be handed on, and the error where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from eskit.domain.events import EventRow
from eskit.errors import InvalidArgument, StoreDamaged
from eskit.store.maintenance import StoreView
from eskit.store.restoring import read_claims


def missing_version(stream: str, version: int) -> StoreDamaged:
    """The error for a stream that has later versions than one that is not there."""
    return StoreDamaged(
        f"Version {version} of {stream} is missing, but {stream} has later versions"
    )


def check_log(view: StoreView, *, streams: Sequence[tuple[str, str]] = ()) -> None:
    """Raise StoreDamaged if events are missing or are not what was recorded.

    With `streams`, pairs of name and tenant, only if it concerns one of them. Three passes over
    the log, none of which decodes anything.
    """
    for stream, tenant, problem in _problems(view):
        if not streams or not stream or (stream, tenant) in streams:
            raise StoreDamaged(problem)


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


def find_loss(view: StoreView) -> str:
    """A sentence on an event that is missing, as later ones and commands tell; empty for none."""
    return next((problem for _, _, problem in _losses(view)), "")


def _check_claims(record: EventRow) -> None:
    try:
        read_claims(record)
    except InvalidArgument as error:
        raise StoreDamaged(error.message) from error


def _problems(view: StoreView) -> Iterator[tuple[str, str, str]]:
    """Stream, tenant and a sentence for everything that is wrong."""
    for misfit in view.find_misfits(log_only=True):
        yield misfit.stream, misfit.tenant, misfit.text
    yield from _losses(view)
    for event in view.find_changed_events():
        yield event.stream, event.tenant, event.text


def _losses(view: StoreView) -> Iterator[tuple[str, str, str]]:
    for gap in view.find_gaps():
        yield gap.stream, gap.tenant, gap.text
    for command in view.find_lost_commands():
        yield command.stream, command.tenant, command.text
