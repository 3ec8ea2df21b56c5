"""What every store checks before it appends: arguments, command ids, versions and claims.

Adapters differ in how they look things up, never in these rules.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from eskit.domain.claims import Claim
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import EventRow, NewEvent, is_erased
from eskit.domain.ids import uuid_text
from eskit.domain.streams import (
    ExpectedVersion,
    category_of,
    check_expected_version,
    check_stream,
    check_tenant,
    version_matches,
)
from eskit.errors import (
    ClaimTaken,
    CommandIdReused,
    EventIdReused,
    InvalidArgument,
    VersionConflict,
)
from eskit.store.records import CommandRecord

MAX_POSITION = 2**63 - 1
"""Above every position and version: what stands for "no upper bound"."""

ClaimKey = tuple[str, str]
"""Index name and value."""


PreparedEvent: TypeAlias = tuple[bytes, str, str, tuple[Claim, ...], bytes]
"""An event in the form that is stored: id as 16 bytes, type, metadata as JSON, claims, payload.

A plain tuple: every append makes one, and a named one takes ten times as long.
"""


class Append(NamedTuple):
    """One checked call of `append`; `claims` says whether any event has some.

    `given_ids` says whether any event had its id before it was appended: then it may be stored.

    Made for every append, so a tuple: made in half the time.
    """

    stream: str
    category: str
    tenant: str
    expected_version: int | ExpectedVersion
    command: Command | None
    events: tuple[PreparedEvent, ...]
    claims: bool
    given_ids: bool


def prepare_append(
    stream: str,
    events: Sequence[NewEvent],
    *,
    expected_version: int | ExpectedVersion,
    command: Command | None,
    tenant: str,
) -> Append:
    """Check everything that needs no look at the store; raises InvalidArgument."""
    try:
        category = _category(stream)
    except TypeError:  # no text, and not even something to look up by
        category = category_of(check_stream(stream))
    if tenant != "":
        check_tenant(tenant)
    check_expected_version(expected_version)
    prepared: list[PreparedEvent] = []
    claims = given_ids = False
    try:
        for event in events:
            if event.known_id:
                given_ids = True
            if event.claims:
                claims = True
            prepared.append(
                (
                    event.id_bytes,
                    event.event_type,
                    event.metadata_json,
                    event.claims,
                    event.data,
                )
            )
    except (AttributeError, TypeError):
        raise _no_events(events) from None
    if command is not None and not isinstance(command, Command):
        raise InvalidArgument(
            f"{command!r:.200} is no command", hint="Pass a Command, or none: command=None."
        )
    if given_ids:
        _check_ids_differ(prepared)
    return Append(
        stream, category, tenant, expected_version, command, tuple(prepared), claims, given_ids
    )


@lru_cache(maxsize=1024)
def _category(stream: str) -> str:
    """Checks the name as well; a stream appended to is likely to be appended to again."""
    return category_of(check_stream(stream))


def keep_events(events: Sequence[NewEvent]) -> Sequence[NewEvent]:
    """The events in a tuple that nobody changes meanwhile; what is no sequence is refused later."""
    try:
        return tuple(events)
    except TypeError:
        return events


def _no_events(events: Sequence[NewEvent]) -> InvalidArgument:
    wrong: object = events
    with contextlib.suppress(TypeError):
        kinds: list[object] = list(events)
        wrong = next((event for event in kinds if not isinstance(event, NewEvent)), events)
    return InvalidArgument(
        f"{wrong!r:.200} cannot be appended",
        hint="Pass a list of events, each made from its message: [NewEvent(message)].",
    )


def _check_ids_differ(events: Sequence[PreparedEvent]) -> None:
    seen: set[bytes] = set()
    for event_id, *_ in events:
        if event_id in seen:
            raise InvalidArgument(
                f"Two events of one append have the id {uuid_text(event_id)}",
                hint="Make a NewEvent for each, and leave event_id out.",
            )
        seen.add(event_id)


def claims_to_json(claims: Sequence[Claim]) -> str | None:
    """An event's claims as kept beside it, so that they can be rebuilt from the log."""
    if not claims:
        return None
    rows = [[change.operation, change.index, change.value] for change in claims]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def check_version(append: Append, actual: int) -> None:
    """Raise VersionConflict unless the stream is where the writer expects it."""
    if not version_matches(append.expected_version, actual):
        raise VersionConflict(append.stream, append.expected_version, actual)


def first_result(append: Append, command: Command, record: CommandRecord) -> AppendResult:
    """What a repeated command is answered with; CommandIdReused if it is another command."""
    if record.fingerprint != command.fingerprint or record.stream != append.stream:
        raise CommandIdReused(command.id, record.stream)
    return AppendResult(
        version=record.version,
        global_position=record.global_position,
        already_processed=True,
        response=record.response,
    )


def first_append(
    append: Append, find_event: Callable[[bytes], EventRow | None]
) -> AppendResult | None:
    """What an append is answered with whose events are stored already; None for a new one.

    They are the same if their stream, types, payloads and claims are; who caused them, and when,
    may differ. Of an event that was erased only its place can be compared. Raises EventIdReused
    where an id is that of another event, or of an event that was appended with others.
    """
    found = [find_event(event_id) for event_id, *_ in append.events]
    stored = [event for event in found if event is not None]
    if not stored:
        return None
    first, last = stored[0], stored[-1]
    for number, (event, new) in enumerate(zip(found, append.events, strict=True)):
        if event is None or event.version != first.version + number or not _is(event, new, append):
            other = event or first
            mine = other.tenant == append.tenant
            raise EventIdReused(
                uuid_text(new[0] if event else append.events[found.index(first)][0]),
                stream=other.stream if mine else "",
                position=other.global_position if mine else 0,
            )
    return AppendResult(
        version=last.version,
        global_position=last.global_position,
        already_processed=True,
        response=b"" if append.command is None else append.command.response,
    )


def _is(stored: EventRow, new: PreparedEvent, append: Append) -> bool:
    _, event_type, _, claims, data = new
    if (stored.stream, stored.tenant, stored.event_type) != (
        append.stream,
        append.tenant,
        event_type,
    ):
        return False
    if is_erased(stored.metadata):
        return True
    return (stored.data, stored.claims) == (data, claims_to_json(claims))


def settle_claims(
    append: Append, find_owner: Callable[[str, str], str | None]
) -> dict[ClaimKey, str | None]:
    """Run the claims of all events in their order; the new owner of every value they changed.

    The owner is the stream itself, or None for a value that is free afterwards. Raises
    ClaimTaken when a value is another stream's at that point of the sequence.
    """
    owners: dict[ClaimKey, str | None] = {}
    for _, _, _, claims, _ in append.events:
        for change in claims:
            key = (change.index, change.value)
            owner = owners[key] if key in owners else find_owner(*key)
            if change.operation == "claim":
                if owner is not None and owner != append.stream:
                    raise ClaimTaken(change.index, change.value, owner)
                owner = append.stream
            elif owner == append.stream:
                owner = None
            owners[key] = owner
    return {key: owner for key, owner in owners.items() if owner in (None, append.stream)}


def check_bounds(after: int, before: int | None, limit: int | None) -> tuple[int, int, int]:
    """The exclusive bounds and the limit of a read with their defaults filled in."""
    upper = MAX_POSITION if before is None else before
    most = MAX_POSITION if limit is None else limit
    for name, value in (("after", after), ("before", upper), ("limit", most)):
        if not 0 <= value <= MAX_POSITION:
            raise InvalidArgument(
                f"{name}={value} is out of range", hint="Bounds and limits are ints from 0."
            )
    return after, upper, most
