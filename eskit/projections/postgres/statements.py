"""Statements of one connection that are put off and sent together.

Waiting for the answer of each takes most of the time. So a statement is only remembered until
somebody asks what it gave, or until there are many. Then all are sent at once, in order; after one
that fails, PostgreSQL skips the others.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeAlias

import psycopg
from psycopg import generators, pq
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from eskit.postgres.connection import Connection

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Row: TypeAlias = tuple[Any, ...]

# So many statements, or bytes of their parameters, are put off at most.
_MOST = 256
_MOST_BYTES = 4 * 1024 * 1024
# A statement is prepared when it comes again; so many are kept.
_MOST_PREPARED = 200
# So many go to the driver before it looks whether it can send and receive.
_CHUNK = 32
_PLACEHOLDER = re.compile(r"%(?:\((?P<name>[^)]+)\)(?=[sbt]))?(?P<format>[sbt%]|)", re.DOTALL)
_FORMATS = {"s": PyFormat.AUTO, "b": PyFormat.BINARY, "t": PyFormat.TEXT}

_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)

_Key: TypeAlias = tuple[bytes, tuple[int, ...]]
_Pending: TypeAlias = tuple[_Key, Any, Any, "Rows"]
_Command: TypeAlias = Callable[[], None]


class Rows:
    """What a statement gives. Asking for anything runs it, if it has not run yet."""

    __slots__ = ("_loaded", "_next", "_statements", "result")

    def __init__(self, statements: Statements) -> None:
        self.result: pq.abc.PGresult | None = None
        self._statements = statements
        self._loaded: list[Row] | None = None
        self._next = 0

    def fetchone(self) -> Row | None:
        """The next row; None after the last."""
        rows = self._load()
        if self._next >= len(rows):
            return None
        self._next += 1
        return rows[self._next - 1]

    def fetchall(self) -> list[Row]:
        """The rows that are left."""
        rows, start = self._load(), self._next
        self._next = len(rows)
        return rows[start:]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.fetchall())

    @property
    def rowcount(self) -> int:
        """How many rows it found or changed; -1 where PostgreSQL does not say."""
        count = self._run().command_tuples
        return -1 if count is None else count

    @property
    def description(self) -> list[tuple[Any, ...]] | None:
        """A tuple for each column, as in PEP 249: name, type and nothing; None without rows."""
        result = self._run()
        if not result.nfields:
            return None
        encoding = "utf-8"
        return [
            ((result.fname(at) or b"").decode(encoding), result.ftype(at), *(None,) * 5)
            for at in range(result.nfields)
        ]

    def _run(self) -> pq.abc.PGresult:
        if self.result is None:
            self._statements.flush()
        if self.result is None:
            raise psycopg.ProgrammingError("the statement was undone before it ran")
        return self.result

    def _load(self) -> list[Row]:
        if self._loaded is None:
            self._loaded = self._statements.load(self._run())
        return self._loaded


class Statements:
    """The statements of a connection, which nobody else may use for rows meanwhile.

    After one has failed nothing more is accepted until `discard`: PostgreSQL would refuse it.
    """

    def __init__(self, connection: Connection, *, prepare: bool) -> None:
        self._connection = connection
        self._transformer = Transformer(connection)
        self._prepare = prepare
        self._prepared: dict[_Key, bytes] = {}
        self._stale = False
        self._named = 0
        self._pending: list[_Pending] = []
        self._bytes = 0
        self._failed: BaseException | None = None

    def add(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """Put a statement off. Raises psycopg.Error if too many were, or one has failed."""
        if self._failed is not None:
            raise self._failed
        key: _Key
        if parameters is None:
            key, values, formats = (sql.encode(), ()), None, None
        else:
            text, names, wanted = _convert(sql)
            given = _in_order(parameters, names, len(wanted))
            values = self._transformer.dump_sequence(given, wanted)
            key, formats = (text, self._transformer.types or ()), self._transformer.formats
            self._bytes += sum(len(value) for value in values if value is not None)
        rows = Rows(self)
        self._pending.append((key, values, formats, rows))
        if len(self._pending) >= _MOST or self._bytes > _MOST_BYTES:
            self.flush()
        return rows

    def flush(self) -> None:
        """Run what was put off; raises psycopg.Error for the first that fails.

        Without an answer nobody knows what is left to read, so the connection is closed.
        """
        if self._failed is not None:
            raise self._failed
        if not self._pending:
            return
        pending, self._pending, self._bytes = self._pending, [], 0
        try:
            results = self._send(pending)
        except BaseException as error:
            self._failed = error
            self._connection.close()
            raise
        for (*_, rows), result in zip(pending, results, strict=True):
            if result.status in _FAILED:
                self._failed = error_from_result(result)
                raise self._failed
            rows.result = result

    def discard(self) -> None:
        """Forget what was put off and what has failed; the caller undoes what has run."""
        self._pending, self._bytes, self._failed = [], 0, None

    def forgive(self) -> None:
        """Accept statements again after one that failed by itself, outside of a transaction."""
        if self._failed is not None:
            self.discard()

    def forget_prepared(self) -> None:
        """Let every statement be planned anew, because tables are others now."""
        self._prepared, self._stale = {}, True

    def load(self, result: pq.abc.PGresult) -> list[Row]:
        """The rows of a result as Python's values."""
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise psycopg.ProgrammingError("the statement gives no rows")
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)

    def _send(self, pending: Sequence[_Pending]) -> list[pq.abc.PGresult]:
        """The result of each statement; the first error for each that did not run."""
        connection = self._connection
        with connection.lock:
            if connection.closed:
                raise psycopg.OperationalError("the connection is closed")
            pgconn = connection.pgconn
            commands: list[_Command] = []
            if self._stale:
                # By itself: what comes up to a sync is one transaction, and it may begin another.
                deallocate = partial(pgconn.send_query_params, b"DEALLOCATE ALL", None)
                commands += [deallocate, pgconn.pipeline_sync]
                self._stale = False
            places = []
            for key, values, formats, _ in pending:
                commands += self._commands(pgconn, key, values, formats)
                places.append(len(commands) - 1)
            commands.append(pgconn.pipeline_sync)
            pgconn.enter_pipeline_mode()
            results = connection.wait(_communicate(pgconn, commands))
            pgconn.exit_pipeline_mode()
        failed = next((at for at, result in enumerate(results) if result.status in _FAILED), None)
        if failed is None:
            return [results[at] for at in places]
        self.forget_prepared()  # some were not
        return [results[min(at, failed)] if at >= failed else results[at] for at in places]

    def _commands(
        self, pgconn: pq.abc.PGconn, key: _Key, values: Any, formats: Any
    ) -> list[_Command]:
        text, types = key
        name = self._prepared.get(key)
        if name:
            return [partial(pgconn.send_query_prepared, name, values, formats)]
        if name is None or not self._prepare:
            if len(self._prepared) >= _MOST_PREPARED:
                self.forget_prepared()
            self._prepared[key] = b""
            return [partial(pgconn.send_query_params, text, values, types, formats)]
        self._named += 1
        name = self._prepared[key] = b"eskit_%d" % self._named
        return [
            partial(pgconn.send_prepare, name, text, types),
            partial(pgconn.send_query_prepared, name, values, formats),
        ]


def _communicate(
    pgconn: pq.abc.PGconn, commands: Sequence[_Command]
) -> PQGen[list[pq.abc.PGresult]]:
    """Send everything and receive the result of each, whichever of the two can go on."""
    chunks: deque[_Command] = deque(
        partial(_call_all, commands[start : start + _CHUNK])
        for start in range(0, len(commands), _CHUNK)
    )
    found = yield from generators.pipeline_communicate(pgconn, chunks)
    while len(found) < len(commands):
        found.append((yield from generators.fetch_many(pgconn)))
    return [results[-1] for results in found]


def _call_all(commands: Sequence[_Command]) -> None:
    for command in commands:
        command()


@lru_cache(maxsize=1_000)
def _convert(sql: str) -> tuple[bytes, tuple[str, ...] | None, tuple[PyFormat, ...]]:
    """A statement with $1, $2; the names of its parameters, if they have names; their formats."""
    names: list[str] = []
    formats: list[PyFormat] = []
    named = set()

    def number(match: re.Match[str]) -> str:
        name, kind = match["name"], match["format"]
        if kind == "%":
            return "%"
        if not kind:
            raise psycopg.ProgrammingError("a % that is no placeholder has to be written %%")
        named.add(name is not None)
        if name is None or name not in names:
            names.append(name or "")
            formats.append(_FORMATS[kind])
            return f"${len(names)}"
        return f"${names.index(name) + 1}"

    text = _PLACEHOLDER.sub(number, sql)
    if len(named) > 1:
        raise psycopg.ProgrammingError("placeholders have names or have none, not both")
    return text.encode(), tuple(names) if True in named else None, tuple(formats)


def _in_order(parameters: Parameters, names: tuple[str, ...] | None, count: int) -> Sequence[Any]:
    if names is not None:
        if not isinstance(parameters, Mapping):
            raise TypeError("placeholders with names need a mapping of parameters")
        return [parameters[name] for name in names]
    if isinstance(parameters, Mapping) and count:
        raise TypeError("placeholders without names need a sequence of parameters")
    if len(parameters) != count:
        raise psycopg.ProgrammingError(
            f"the statement has {count} placeholders, but {len(parameters)} parameters were given"
        )
    return list(parameters)
