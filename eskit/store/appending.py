"""What every store checks before it appends: arguments, command ids, versions and claims.

Adapters differ in how they look things up, never in these rules.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias, TypeVar

from eskit.domain.claims import Claim
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import NewEvent
from eskit.domain.streams import (
    ExpectedVersion,
    category_of,
    check_expected_version,
    check_stream,
    check_tenant,
    version_matches,
)
from eskit.domain.text import check_text
from eskit.errors import ClaimTaken, CommandIdReused, InvalidArgument, VersionConflict
from eskit.store.records import CommandRecord

_log = logging.getLogger("eskit.store")
Outcome = TypeVar("Outcome")

MAX_POSITION = 2**63 - 1
"""Above every position and version: what stands for "no upper bound"."""

MAX_METADATA = 16_000
"""Bytes of an event's metadata as JSON: percent-encoded it has to fit the headers of NATS."""

ClaimKey = tuple[str, str]
"""Index name and value."""


PreparedEvent: TypeAlias = tuple[bytes, str, str, tuple[Claim, ...], bytes]
"""An event in the form that is stored: id as 16 bytes, type, metadata as JSON, claims, payload.

A plain tuple: every append makes one, and a named one takes ten times as long.
"""


class Append(NamedTuple):
    """One checked call of `append`; `claims` says whether any event has some.

    Made for every append, so a tuple: made in half the time.
    """

    stream: str
    category: str
    tenant: str
    expected_version: int | ExpectedVersion
    command: Command | None
    events: tuple[PreparedEvent, ...]
    claims: bool


def prepare_append(
    stream: str,
    events: Sequence[NewEvent],
    *,
    expected_version: int | ExpectedVersion,
    command: Command | None,
    tenant: str,
) -> Append:
    """Check everything that needs no look at the store; raises InvalidArgument."""
    category = _category(stream)
    check_tenant(tenant)
    check_expected_version(expected_version)
    prepared = []
    claims = False
    for event in events:
        metadata = event.metadata.to_json()
        if metadata:
            _check_metadata(metadata)
        for change in event.claims:
            claims = True
            check_text(change.index + change.value, "A claim")
        prepared.append((event.id_bytes, event.event_type, metadata, event.claims, event.data))
    return Append(stream, category, tenant, expected_version, command, tuple(prepared), claims)


@lru_cache(maxsize=1024)
def _category(stream: str) -> str:
    """Checks the name as well; a stream appended to is likely to be appended to again."""
    return category_of(check_stream(stream))


def _check_metadata(metadata: str) -> None:
    size = check_text(metadata, "Metadata")
    if size > MAX_METADATA:
        raise InvalidArgument(
            f"Metadata of {size:,} bytes is too long",
            hint=f"It has at most {MAX_METADATA:,} as JSON; large data belongs in the event.",
        )


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


def tell(then: Callable[[Outcome], None], outcome: Outcome) -> None:
    """Call what somebody left to be told; nobody is there to take what it raises."""
    try:
        then(outcome)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - SystemExit too: it is not this thread that is meant
        _log.exception("What was to be told of a commit could not take it")
