"""The rules by which recorded events are added to a log as they are, for every store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from eskit.domain.events import EventRow
from eskit.domain.ids import uuid_text
from eskit.errors import ClaimTaken, InvalidArgument
from eskit.store.records import ClaimRow, CommandRow


def check_follows(record: EventRow, *, position: int, recorded_at: int, version: int) -> None:
    """Raise InvalidArgument unless the event comes after the log and after its stream."""
    if record.global_position <= position:
        problem = f"position {record.global_position} does not come after {position}"
    elif record.version != version + 1:
        problem = f"version {record.version} of {record.stream} does not come after {version}"
    elif record.recorded_at < recorded_at:
        problem = f"the event at {record.global_position} is older than the one before it"
    else:
        return
    raise InvalidArgument(
        f"The event cannot be added: {problem}", hint="Events are added in their order, each once."
    )


def id_is_taken(record: EventRow) -> InvalidArgument:
    """The error for an event whose id an earlier one has."""
    return InvalidArgument(
        f"The event cannot be added: an earlier one has its id, {uuid_text(record.event_id)}",
        hint="An event id is stored once.",
    )


def check_has_happened(command: CommandRow, *, version: int, position: int) -> None:
    """Raise InvalidArgument when a command has gone further than its stream, at `version`.

    And when the event that it led to is at another `position`.
    """
    if 0 < command.version <= version and command.global_position != position:
        raise InvalidArgument(
            f"Command {command.id!r} led to version {command.version} of {command.stream} at "
            f"{command.global_position}, which is at {position}",
            hint="Commands are added after the events they led to.",
        )
    if command.version > version:
        raise InvalidArgument(
            f"Command {command.id!r} led to version {command.version} of {command.stream}, "
            f"which is at {version}",
            hint="Commands are added after the events they led to.",
        )


def read_claims(record: EventRow) -> list[tuple[str, str, str]]:
    """Operation, index and value of each claim of an event; InvalidArgument for anything else."""
    try:
        found = [(kind, index, value) for kind, index, value in json.loads(record.claims or "[]")]
        valid = all(isinstance(part, str) for claim in found for part in claim)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InvalidArgument(
            f"The claims of the event at {record.global_position:,} cannot be read",
            hint="Check the store: eskit store verify",
        )
    return found


def run_claims(
    row: EventRow, find_owner: Callable[[str, str, str], str | None]
) -> Iterator[tuple[ClaimRow, bool]]:
    """What the claims of an event change, one after another: values, and whether they are taken.

    `find_owner` is asked for tenant, index and value when the change before it has been made.
    Raises ClaimTaken, and InvalidArgument for what are no claims.
    """
    for operation, index, value in read_claims(row):
        owner = find_owner(row.tenant, index, value)
        claim = ClaimRow(row.tenant, index, value, row.stream)
        if operation == "claim":
            if owner not in {None, row.stream}:
                raise ClaimTaken(index, value, str(owner))
            yield claim, True
        elif owner == row.stream:
            yield claim, False
