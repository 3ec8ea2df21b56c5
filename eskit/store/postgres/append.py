"""Groups of appends, each group in one call of the function `append` and one transaction.

The function takes the store's lock, so that positions are given out in the order of commits over
all processes, and answers for every append on its own. A connection that is lost in the middle
leaves the question open whether the group was committed. It is sent again, with every event id
looked up under the lock: what is there already was appended by the first try, and is not appended
twice. A first try that comes late, behind the second, fails on the event ids: they are unique.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult
from eskit.domain.events import EventRow
from eskit.errors import (
    ClaimTaken,
    CommandIdReused,
    EskitError,
    InvalidArgument,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)
from eskit.postgres.connection import Connection
from eskit.postgres.errors import is_lost, store_error
from eskit.store.appending import Append, first_append
from eskit.store.copies import read_state
from eskit.store.postgres.arguments import pack
from eskit.store.postgres.sql import query
from eskit.store.write import Write

_CALL = f"SELECT * FROM append({', '.join(['%b'] * 17)})"  # noqa: S608 - placeholders only
_RETRIED = frozenset({"40001", "40P01", "55P03"})
_READ_ONLY = "25006"
_LOST_CODES = ("08", "57P")
_MOST_BYTES = 1_000_000_000
"""The server ends a session that sends a message of 1 GiB."""
_RETRY_AFTER = 0.1
_GIVE_UP_AFTER = 10.0


class AppendCommitter:
    """Commits groups of appends over a connection of its own. Used by one thread at a time."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        url: str,
        lock: int,
        channel: str,
        committed: Callable[[], None],
        clock: Clock,
    ) -> None:
        """`committed` is called after every commit, before anybody is told of it."""
        self._connect = connect
        self._url = url
        self._lock = lock
        self._channel = channel
        self._committed = committed
        self._clock = clock
        self._connection: Connection | None = None
        self._cursor: psycopg.Cursor[tuple[Any, ...]]  # one for all calls, which costs less

    def commit(self, batch: list[Write], newcomers: Callable[[], Iterable[Write]] = tuple) -> None:
        """Finish every append of the batch, to which newcomers are added before it is sent."""
        batch.extend(newcomers())
        try:
            self._commit(batch)
        except EskitError as error:
            for write in batch:
                if not write.finished:
                    write.fail(error)

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _commit(self, batch: Sequence[Write]) -> None:
        """Send a batch; each alone where one of them is more than the server takes."""
        try:
            self._send_until_known(batch)
        except psycopg.Error as error:
            if len(batch) == 1:
                raise refused(error, self._url) from error
            for write in batch:
                try:
                    self._commit([write])
                except EskitError as refusal:
                    write.fail(refusal)

    def _send_until_known(self, batch: Sequence[Write]) -> None:
        """Send a batch, again where nobody knows what became of it, until somebody does."""
        deadline = self._clock.monotonic() + _GIVE_UP_AFTER
        ambiguous = False
        while True:
            try:
                self._send(batch, ambiguous=ambiguous)
            except StoreUnavailable as error:  # there is no connection
                problem: StoreError = error
            except psycopg.Error as error:
                lost = is_lost(error, self._connection) or _tells_of_loss(error)
                if not lost and error.sqlstate not in _RETRIED:
                    if error.sqlstate == _READ_ONLY:  # the next append may find a primary
                        self.close()
                    raise
                problem = store_error(error, self._url)
                if lost:
                    ambiguous = True
                    self.close()
            else:
                return
            if self._clock.monotonic() > deadline:
                raise self._unknown(problem, ambiguous=ambiguous)
            self._clock.sleep(_RETRY_AFTER)

    def _send(self, batch: Sequence[Write], *, ambiguous: bool) -> None:
        if self._connection is None:
            self._connection = self._connect()
            self._cursor = self._connection.cursor(binary=True)
        arrays = pack([write.request for write in batch], look_up=ambiguous)
        if sum(map(len, arrays)) > _MOST_BYTES:
            raise psycopg.errors.ProgramLimitExceeded("more than a message to the server may have")
        with self._connection.in_schema():
            call = (self._lock, self._channel, self._now(), *arrays)
            self._cursor.execute(_CALL, call, prepare=True)
        verdicts = self._cursor.fetchall()
        self._committed()
        for write, verdict in zip(batch, verdicts, strict=True):
            try:
                write.succeed(self._result(write.request, *verdict, ambiguous=ambiguous))
            except EskitError as error:
                write.fail(error)

    def _now(self) -> int | None:
        """The time of another clock than that of machines; with that one the server decides."""
        return None if self._clock is SYSTEM_CLOCK else self._clock.microseconds()

    def _result(
        self,
        append: Append,
        verdict: str,
        version: int,
        position: int,
        response: bytes,
        detail: str,
        *,
        ambiguous: bool,
    ) -> AppendResult:
        """What one append came to, or the error for it raised."""
        command = append.command
        if verdict == "appended":
            own = b"" if command is None else command.response
            return AppendResult(version, position, response=own)
        if verdict == "repeated":
            return AppendResult(
                version, position, already_processed=not ambiguous, response=response
            )
        if verdict == "conflict":
            raise VersionConflict(append.stream, append.expected_version, version)
        if verdict == "claimed":
            claims = [claim for event in append.events for claim in event.claims]
            claim = claims[version - 1]
            raise ClaimTaken(claim.index, claim.value, detail)
        if verdict == "closed":
            raise read_state(detail).refusal()
        if verdict == "reused" and command is not None:
            raise CommandIdReused(command.id, detail)
        first = first_append(append, self._find_by_id(append).get)
        if first is None:
            raise StoreUnavailable(
                f"{self._url} answered {verdict!r} to an append", hint="Append again."
            )
        return first._replace(already_processed=not ambiguous)

    def _find_by_id(self, append: Append) -> dict[bytes, EventRow]:
        assert self._connection is not None  # noqa: S101 - it has just answered
        ids = [UUID(bytes=event.id_bytes) for event in append.events]
        with self._connection.cursor(binary=True) as cursor, self._connection.in_schema():
            rows = cursor.execute(query("read_by_ids"), (ids,)).fetchall()
        return {row[3]: EventRow(*row) for row in rows}

    def _unknown(self, problem: StoreError, *, ambiguous: bool) -> StoreError:
        if not ambiguous:
            return problem
        return StoreUnavailable(
            f"The connection was lost during a commit: {problem.message}",
            hint="Append again with the same command id or event ids: nothing is appended twice.",
        )


def refused(error: psycopg.Error, url: str) -> EskitError:
    """The error for what the server or the driver does not take."""
    if isinstance(error, psycopg.DataError) and error.sqlstate in {None, "22021"}:
        return InvalidArgument(
            f"PostgreSQL does not keep such a text: {error}",
            hint="Leave out NUL characters; bytes may hold anything.",
        )
    if error.sqlstate == "54000":
        return InvalidArgument(
            f"Too large for PostgreSQL: {error}", hint="Make names and payloads smaller."
        )
    return store_error(error, url)


def _tells_of_loss(error: psycopg.Error) -> bool:
    """Whether the server says that it ends the session, before it does."""
    return (error.sqlstate or "").startswith(_LOST_CODES)
