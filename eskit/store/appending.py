"""What every store checks before it appends: arguments, command ids, versions and claims.

Adapters differ in how they look things up, never in these rules.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from typing import NamedTuple, Protocol

from eskit.domain.claims import Claim
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import EventRow, NewEvent, is_erased
from eskit.domain.streams import (
    ExpectedVersion,
    category_of,
    check_expected_version,
    check_stream,
    version_matches,
)
from eskit.errors import (
    ClaimTaken,
    CommandIdReused,
    EventIdReused,
    InvalidArgument,
    VersionConflict,
)
from eskit.schema.recorded import EventSchema
from eskit.store.copies import COPY_STATE, refuse_changes
from eskit.store.recording import schemas_behind
from eskit.store.records import ClaimRow, CommandRow, Record

MAX_POSITION = 2**63 - 1
"""Above every position and version: what stands for "no upper bound"."""

ClaimKey = tuple[str, str]
"""Index name and value."""


class Append(NamedTuple):
    """One checked call of `append`.

    `claims` says whether any event has some, `given_ids` whether any had its id before it was
    appended: then it may be stored. `schemas` are those of its events that may not be stored yet,
    each with the number of its first event, from 1, in place of a position.

    Made for every append, so a tuple: made in half the time.
    """

    stream: str
    category: str
    tenant: str
    expected_version: int | ExpectedVersion
    command: Command | None
    events: Sequence[NewEvent]
    claims: bool
    given_ids: bool
    schemas: tuple[EventSchema, ...] = ()


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
    check_expected_version(expected_version)
    claims = given_ids = False
    try:
        for event in events:
            if event.known_id:
                given_ids = True
            else:
                event.id_bytes  # noqa: B018 - made now: it tells the time
            if event.claims:
                claims = True
    except (AttributeError, TypeError):
        raise _no_events(events) from None
    if command is not None and not isinstance(command, Command):
        raise InvalidArgument(
            f"{command!r:.200} is no command", hint="Pass a Command, or none: command=None."
        )
    if given_ids:
        _check_ids_differ(events)
    return Append(stream, category, tenant, expected_version, command, events, claims, given_ids)


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
        listed: list[object] = list(events)
        wrong = next((event for event in listed if not isinstance(event, NewEvent)), events)
    return InvalidArgument(
        f"{wrong!r:.200} cannot be appended",
        hint="Pass a list of events, each made from its message: [NewEvent(message)].",
    )


def _check_ids_differ(events: Sequence[NewEvent]) -> None:
    seen: set[bytes] = set()
    for event in events:
        if event.known_id in seen:
            raise InvalidArgument(
                f"Two events of one append have the id {event.event_id}",
                hint="Make a NewEvent for each, and leave event_id out.",
            )
        seen.add(event.known_id)


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


def first_result(append: Append, command: Command, record: CommandRow) -> AppendResult:
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
    found = [find_event(event.id_bytes) for event in append.events]
    stored = [event for event in found if event is not None]
    if not stored:
        return None
    first, last = stored[0], stored[-1]
    for number, (event, new) in enumerate(zip(found, append.events, strict=True)):
        if event is None or event.version != first.version + number or not _is(event, new, append):
            other = event or first
            mine = other.tenant == append.tenant
            raise EventIdReused(
                (new if event else append.events[found.index(first)]).event_id,
                stream=other.stream if mine else "",
                position=other.global_position if mine else 0,
            )
    return AppendResult(
        version=last.version,
        global_position=last.global_position,
        already_processed=True,
        response=b"" if append.command is None else append.command.response,
    )


def _is(stored: EventRow, new: NewEvent, append: Append) -> bool:
    place = append.stream, append.tenant, new.event_type
    if (stored.stream, stored.tenant, stored.event_type) != place:
        return False
    if is_erased(stored.metadata):
        return True
    return (stored.data, stored.claims) == (new.data, claims_to_json(new.claims))


def settle_claims(
    append: Append, find_owner: Callable[[str, str], str | None]
) -> dict[ClaimKey, str | None]:
    """Run the claims of all events in their order; the new owner of every value they changed.

    The owner is the stream itself, or None for a value that is free afterwards. Raises
    ClaimTaken when a value is another stream's at that point of the sequence.
    """
    owners: dict[ClaimKey, str | None] = {}
    for event in append.events:
        for change in event.claims:
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


class Found(Protocol):
    """What the rules of an append look up in a store while nobody else writes."""

    def find_command(self, tenant: str, command_id: str) -> CommandRow | None:
        """The record of a command."""
        ...

    def find_by_id(self, event_id: bytes) -> EventRow | None:
        """The event that has an id."""
        ...

    def find_owner(self, tenant: str, index: str, value: str) -> str | None:
        """The stream that holds a value."""
        ...

    def find(self, kind: type[Record], *key: str) -> Sequence[Record]:
        """The rows of a kind whose keys begin with `key`, sorted."""
        ...

    def last_of(self, stream: str, tenant: str) -> EventRow | None:
        """The last event of a stream."""
        ...

    def last(self) -> EventRow | None:
        """The last event of the log."""
        ...


class Changes(NamedTuple):
    """What an append comes to: its result, and the rows that a store puts and drops for it."""

    result: AppendResult
    events: Sequence[EventRow] = ()
    claims: Sequence[ClaimRow] = ()
    freed: Sequence[ClaimRow] = ()
    commands: Sequence[CommandRow] = ()
    schemas: Sequence[EventSchema] = ()


def decide(append: Append, found: Found, now: int) -> Changes:
    """The rules of an append, for stores that look everything up one by one.

    `now` is in microseconds. Raises CommandIdReused, EventIdReused, VersionConflict, ClaimTaken,
    and StoreUnavailable for a store that a copy has closed.
    """
    command, tenant, stream = append.command, append.tenant, append.stream
    if command is not None and (record := found.find_command(tenant, command.id)):
        return Changes(first_result(append, command, record))
    if append.given_ids and (first := first_append(append, found.find_by_id)):
        return Changes(first)
    refuse_changes(found.find(Record, *COPY_STATE))
    last, head = found.last_of(stream, tenant), found.last()
    version, position = (last.version, last.global_position) if last else (0, 0)
    check_version(append, version)
    owners = settle_claims(append, lambda *key: found.find_owner(tenant, *key))
    before, recorded_at = (head.global_position, head.recorded_at) if head else (0, 0)
    time = max(now, recorded_at)  # never before the log, however wrong the clock is
    events = [
        EventRow(
            before + number,
            stream,
            version + number,
            event.id_bytes,
            event.event_type,
            time,
            tenant,
            event.metadata_json,
            event.data,
            claims_to_json(event.claims),
        )
        for number, event in enumerate(append.events, start=1)
    ]
    if events:
        version, position = events[-1].version, events[-1].global_position
    response = b"" if command is None else command.response
    return Changes(
        AppendResult(version, position, response=response),
        events,
        [ClaimRow(tenant, *key, stream) for key, owner in owners.items() if owner],
        [ClaimRow(tenant, *key, stream) for key, owner in owners.items() if not owner],
        [
            CommandRow(tenant, each.id, each.fingerprint, stream, version, position, time, response)
            for each in (command,)
            if each is not None
        ],
        schemas_behind(append.schemas, before) if events else (),
    )


def completed(run: Callable[[Append], AppendResult], append: Append) -> Future[AppendResult]:
    """The future of an append that is run at once, for stores whose commits take no time."""
    future = Future[AppendResult]()
    try:
        future.set_result(run(append))
    except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)
    return future


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
