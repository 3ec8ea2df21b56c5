"""The schema that queries read, opened for writing, and shadow rows in schemas beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eskit.clock import Clock
from eskit.postgres.connection import Connection
from eskit.postgres.url import PostgresUrl
from eskit.projections.differences import TableDifference
from eskit.projections.port import Purpose, Records
from eskit.projections.postgres.comparison import compare_tables
from eskit.projections.postgres.read_model import PostgresReadModel, select_records
from eskit.projections.postgres.session import translated
from eskit.projections.postgres.shadow import Fence, discard_shadow, shadow_schema
from eskit.projections.postgres.sql import query
from eskit.projections.postgres.swap import Swap
from eskit.projections.postgres.tables import quoted
from eskit.projections.records import Kind, Record

Connect = Callable[[], tuple[Connection, Callable[[], None]]]
"""A connection to write on, and what lets go of it."""


class PostgresLiveReadModel(PostgresReadModel):
    """See `eskit.projections.port.LiveReadModel`."""

    def __init__(self, connect: Connect, url: PostgresUrl, *, clock: Clock) -> None:
        self._connect = connect
        self._clock = clock
        self._dropped: list[str] = []
        connection, let_go = connect()
        super().__init__(connection, url, url.schema, let_go=let_go)

    def drop(self, name: str) -> None:
        """Go on in an empty schema of the projection, which the end of the transaction exchanges.

        So readers need not wait until its tables are made again.
        """
        self._lock(name)
        self._transactions.flush()
        with translated(self._url.shown):
            place = shadow_schema(self._schema, name, "place")
            self._connection.execute(f"CREATE SCHEMA {quoted(place)}".encode())
            self._swap(name, place).begin()
        self._dropped.append(name)

    def open_shadow(self, name: str, purpose: Purpose) -> PostgresShadowReadModel:
        """A schema with the same table names, searched before the live one."""
        schema = shadow_schema(self._schema, name, purpose)
        return PostgresShadowReadModel(self._connect, self._url, schema, name, purpose)

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Drop the schema."""
        with translated(self._url.shown):
            discard_shadow(self._connection, self._schema, name, purpose)

    @contextmanager
    def swapping(self, name: str) -> Iterator[None]:
        """Write on into the shadow schema, and exchange its tables at the end.

        Readers wait for no more than that.
        """
        schema = shadow_schema(self._schema, name, "rebuild")
        swap = self._swap(name, schema)
        fence = Fence(self._connection, live=self._schema, own=schema, records=True)
        with translated(self._url.shown):
            swap.analyze()
        with self.transaction():
            self._lock(name, put_back=False)  # those of the live rows will be gone
            self._transactions.flush()
            with translated(self._url.shown):
                swap.begin()
                fence.begin()
            yield
            self._transactions.flush()
            with translated(self._url.shown):
                fence.check(name)
                swap.finish()
            self._changed()

    def _ending(self) -> None:
        """Exchange what was dropped, unless that was undone."""
        dropped, self._dropped = self._dropped, []
        for name in dropped:
            self._transactions.flush()
            place = shadow_schema(self._schema, name, "place")
            with translated(self._url.shown):
                found = self._connection.execute("SELECT to_regnamespace(%s)", (quoted(place),))
                if found.fetchone() != (None,):
                    self._swap(name, place).finish(discard=True)
            self._changed()

    def _swap(self, name: str, shadow: str) -> Swap:
        return Swap(
            connection=self._connection,
            live=self._schema,
            shadow=shadow,
            projection=name,
            clock=self._clock,
        )


class PostgresShadowReadModel(PostgresReadModel):
    """See `eskit.projections.port.ShadowReadModel`."""

    def __init__(
        self, connect: Connect, url: PostgresUrl, schema: str, name: str, purpose: Purpose
    ) -> None:
        connection, let_go = connect()
        self._live = url.schema
        self._name = name
        self._compares = purpose == "diff"
        self._fence = Fence(connection, live=url.schema, own=schema)
        super().__init__(
            connection,
            url,
            schema,
            let_go=let_go,
            # A comparison needs one moment of the live rows; a build all that is there by now.
            begin="BEGIN ISOLATION LEVEL REPEATABLE READ" if self._compares else "BEGIN",
        )
        path = f"{quoted(schema)}, {quoted(url.schema)}, pg_temp"
        with translated(url.shown):
            connection.execute("SELECT set_config('search_path', %s, false)", (path,))

    @property
    def live(self) -> Records:
        """The eskit_records of the live rows, as the transaction sees them."""
        return _LiveRecords(self._run, self._live)

    def compare(self, name: str, *, examples: int, in_order: bool) -> list[TableDifference]:
        """Table by table inside PostgreSQL."""
        self._transactions.flush()
        with translated(self._url.shown):
            return compare_tables(
                self._connection,
                name,
                live=self._live,
                shadow=self._schema,
                examples=examples,
                in_order=in_order,
            )

    def _begun(self) -> None:
        if self._compares:
            # Before anything is looked at: an exchange may not come in between.
            self._transactions.statements.add(query("lock_gate", self._live), ())
        self._transactions.flush()
        with translated(self._url.shown):
            self._fence.begin()

    def _ending(self) -> None:
        self._transactions.flush()
        with translated(self._url.shown):
            self._fence.check(self._name)


class _LiveRecords:
    """The records of the live rows, seen from the connection of the shadow rows."""

    def __init__(
        self, run: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]], schema: str
    ) -> None:
        self._run = run
        self._schema = schema

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """Rows of eskit_records."""
        rows = self._run(*select_records(self._schema, kind, name, key))
        return [Record(*row) for row in rows]
