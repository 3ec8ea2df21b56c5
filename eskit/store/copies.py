"""Whether a store is the source or the target of a copy, and what it refuses while it is.

The store itself says so, in a record that every append looks at: whichever process appends is
refused. See `eskit.operations.copying`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from shlex import quote
from typing import Literal

from eskit.errors import StoreUnavailable
from eskit.store.records import Record

COPY_STATE = ("copy", "state")
"""Kind and key of the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyState:
    """What a store is in a copy; a store without it takes part in none, or is done with it.

    A ``source`` was moved and only answers reads; a ``target`` is not finished; the copy into an
    ``aborted`` one was given up. Both stores of a copy have the same `attempt`. `url` is the
    store's own URL and `other` that of the other store, both without secrets. `unscrubbed` says
    that free space of the store may hold what was erased.
    """

    role: Literal["source", "target", "aborted"]
    attempt: str
    url: str
    other: str
    unscrubbed: bool = False

    @property
    def text(self) -> str:
        """What is so, as the end of a sentence about the store."""
        if self.role == "source":
            return f"was moved to {self.other} and is read-only"
        if self.role == "target":
            return f"is an unfinished copy of {self.other}"
        return f"is a copy of {self.other} that was given up"

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.role == "source":
            return (
                "Use the new store, or make this one writable again: "
                f"eskit store copy {quote(self.url)} {quote(self.other)} --abort"
            )
        verb = "Finish" if self.role == "target" else "Copy it again"
        return f"{verb}: eskit store copy {quote(self.other)} {quote(self.url)} --finish"

    def record(self, now: datetime) -> Record:
        """The record that says so."""
        kind, key = COPY_STATE
        return Record(
            kind=kind, key=key, value=json.dumps(asdict(self)), revision=1, updated_at=now
        )

    def refusal(self) -> StoreUnavailable:
        """The error for a change to the store."""
        message = f"{self.url} {self.text}"
        if self.role == "source":
            return StoreUnavailable(message, code="STORE_MOVED", hint=self.hint)
        return StoreUnavailable(message, code="COPY_UNFINISHED", hint=self.hint)


def read_state(value: str) -> CopyState:
    """The state that the value of a record holds."""
    return CopyState(**json.loads(value))


def refuse_changes(records: Sequence[Record]) -> None:
    """Raise StoreUnavailable if there is a record of a copy; for the stores that look it up."""
    for record in records:
        raise read_state(record.value).refusal()
