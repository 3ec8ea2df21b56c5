"""Putting the tables that a build has made in the place of the live ones.

They change their schema, which takes milliseconds whatever their size; readers, who pass the gate
first, see all the old rows or all the new ones. Where something of others needs the old tables,
such as a view, the rows are exchanged instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import MigrationInvalid, ProjectionBusy, ProjectionFailed
from eskit.postgres.connection import Connection
from eskit.postgres.sql import read_statements
from eskit.projections.postgres.refill import refill
from eskit.projections.postgres.shadow import shadow_schema
from eskit.projections.postgres.tables import (
    SchemaObject,
    declare_table,
    find_owned,
    list_dependents,
    list_objects,
    own,
    quoted,
    search,
    searching,
)

GATE = "eskit_gate"
"""The table of the live schema that readers lock in ACCESS SHARE mode before anything else."""

_STATEMENTS = Path(__file__).with_name("swap.sql")
# Below PostgreSQL's deadlock_timeout of a second, or readers could be chosen as its victims.
_LOCK_TIMEOUT = "100ms"
_AUTOVACUUM_GIVES_WAY = "15s"
_PAUSE = 0.1
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """The exchange of one projection, in a transaction of the caller's.

    `live` and `shadow` are schemas. Between `begin` and `finish`, which comes last before the
    commit, names are looked for in the shadow schema first: what is written then is exchanged too.
    """

    connection: Connection
    live: str
    shadow: str
    projection: str
    clock: Clock = SYSTEM_CLOCK
    patience: float = _PATIENCE

    def analyze(self) -> None:
        """Let PostgreSQL know the rows to plan by; outside of a transaction."""
        for table in _tables(list_objects(self.connection, self.shadow)):
            self._run(f"ANALYZE {table.identity}")

    def begin(self) -> None:
        """Check that the names are the projection's, and search the shadow schema first.

        Raises MigrationInvalid for a name that is not.
        """
        fresh = list_objects(self.connection, self.shadow)
        find_owned(self.connection, self.live, self.projection, fresh)
        search(self.connection, self.shadow, self.live)

    def finish(self, *, stop: threading.Event | None = None, discard: bool = False) -> None:
        """Swap the tables; nobody waits before this, and until the commit readers do.

        `discard` drops the shadow schema with it.

        Raises ProjectionFailed if a row refers to one that is not there, MigrationInvalid if
        tables change that something of others needs, and ProjectionBusy if readers of a minute
        leave no gap.
        """
        fresh = list_objects(self.connection, self.shadow)
        old = find_owned(self.connection, self.live, self.projection, fresh)
        own(self.connection, self.live, self.projection, fresh)
        with _consistent(self.projection):
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            needed_by = list_dependents(self.connection, old)
            if not needed_by:
                self._copy_rights()
                self._stop_vacuum([*old, *fresh])
                self._lock(old, stop)
                needed_by = list_dependents(self.connection, old)  # others had time meanwhile
            if needed_by:
                self._exchange_rows(old, fresh, needed_by)
            else:
                self._move(old, fresh)
        if discard:
            self._run(*_drop(self.shadow))

    def _exchange_rows(
        self, old: Sequence[SchemaObject], fresh: Sequence[SchemaObject], needed_by: list[str]
    ) -> None:
        with searching(self.connection, self.live):
            was = [declare_table(self.connection, table) for table in _tables(old)]
        with searching(self.connection, self.shadow, self.live):
            becomes = [declare_table(self.connection, table) for table in _tables(fresh)]
        same = sorted(old) == sorted(fresh) and all(
            one.declared == other.declared and other.parts.items() <= one.parts.items()
            for one, other in zip(was, becomes, strict=True)
        )
        if not same:
            raise MigrationInvalid(
                f"The tables of {self.projection!r} change, and {_listed(needed_by)} needs them",
                hint="Drop it, rebuild, and create it again.",
            )
        destructive = self._read("list_destructive_keys", tables=_oids(old))
        if destructive:
            raise MigrationInvalid(
                f"Rows of others would be deleted with those of {self.projection!r}, by foreign "
                f"key {destructive[0][0]}",
                hint="Drop the foreign key, rebuild, and create it again.",
            )
        refill(self.connection, becomes, live=self.live, shadow=self.shadow)

    def _move(self, old: Sequence[SchemaObject], fresh: Sequence[SchemaObject]) -> None:
        """Move the old away and the new in, and drop the old."""
        gone = shadow_schema(self.live, self.projection, "gone")
        self._run(
            f"CREATE SCHEMA {quoted(gone)}",
            *(f"ALTER {found.clause} SET SCHEMA {quoted(gone)}" for found in old),
            *(f"ALTER {found.clause} SET SCHEMA {quoted(self.live)}" for found in fresh),
            *_drop(gone),
        )

    def _run(self, *statements: str) -> None:
        """All of them in one round trip."""
        self.connection.execute("; ".join(statements).encode())

    def _stop_vacuum(self, objects: Sequence[SchemaObject]) -> None:
        """Let autovacuum give way, which it does after a second, before any reader waits."""
        try:
            with self.connection.transaction():
                self._run(
                    f"SET LOCAL lock_timeout = '{_AUTOVACUUM_GIVES_WAY}'",
                    *(
                        f"LOCK TABLE {table.identity} IN SHARE UPDATE EXCLUSIVE MODE"
                        for table in _tables(objects)
                    ),
                )
        except psycopg.errors.LockNotAvailable:
            raise self._busy(objects) from None

    def _lock(self, old: Sequence[SchemaObject], stop: threading.Event | None) -> None:
        """Wait for the readers, but let no other reader wait behind this for long."""
        deadline = self.clock.monotonic() + self.patience
        relations = [found.identity for found in old if found.kind in {"table", "view"}]
        while True:
            try:
                with self.connection.transaction():
                    self._run(
                        f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'",
                        f"LOCK TABLE {self._gate} IN ACCESS EXCLUSIVE MODE",
                        *(
                            f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE NOWAIT"
                            for relation in relations
                        ),
                    )
                return
            except psycopg.errors.LockNotAvailable:
                given_up = stop is not None and stop.is_set()
                if given_up or self.clock.monotonic() > deadline:
                    raise self._busy(old) from None
            self.clock.sleep(_PAUSE)

    @property
    def _gate(self) -> str:
        return f"{quoted(self.live)}.{GATE}"

    def _busy(self, objects: Sequence[SchemaObject]) -> ProjectionBusy:
        ((gate,),) = self.connection.execute("SELECT %s::regclass::oid", (self._gate,)).fetchall()
        pids = [pid for (pid,) in self._read("list_blockers", tables=[gate, *_oids(objects)])]
        who = ", ".join(map(str, pids)) or "unknown"
        return ProjectionBusy(
            f"Readers left no moment to exchange the rows of {self.projection!r} (processes {who} "
            "of PostgreSQL)",
            hint=f"Go on when they have finished: eskit project rebuild {self.projection}",
        )

    def _copy_rights(self) -> None:
        """Give the new tables what was granted on the old ones, and their policies."""
        schemas = {"live": quoted(self.live), "shadow": quoted(self.shadow)}
        for kind, name, column, grantee, right, passes_on in self._read("list_grants", **schemas):
            what = f"{right} ({quoted(column)})" if column else right
            option = " WITH GRANT OPTION" if passes_on else ""
            on = f"{kind} {quoted(self.shadow)}.{quoted(name)}"
            self._run(f"GRANT {what} ON {on} TO {grantee}{option}")
        with searching(self.connection, self.live):
            policies = self._read("list_policies", **schemas)
        for name, forced, policy, permissive, command, roles, using, check in policies:
            table = f"{quoted(self.shadow)}.{quoted(name)}"
            self._run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            if forced:
                self._run(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            if policy is not None:
                self._run(
                    f"CREATE POLICY {quoted(policy)} ON {table} "
                    f"AS {'PERMISSIVE' if permissive else 'RESTRICTIVE'} FOR {command} TO {roles}"
                    + (f" USING ({using})" if using else "")
                    + (f" WITH CHECK ({check})" if check else "")
                )

    def _read(self, name: str, **values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(read_statements(_STATEMENTS)[name], values).fetchall()


@contextmanager
def _consistent(projection: str) -> Iterator[None]:
    """Raise ProjectionFailed for a row that refers to one that is not there."""
    try:
        yield
    except psycopg.IntegrityError as error:
        raise ProjectionFailed(
            f"The rows built for {projection!r} are not consistent: {error.diag.message_primary}",
            hint="The live rows are untouched. Mend the handlers, then rebuild again.",
        ) from error


def _drop(schema: str) -> tuple[str, str]:
    return "SET LOCAL client_min_messages = warning", f"DROP SCHEMA {quoted(schema)} CASCADE"


def _tables(objects: Iterable[SchemaObject]) -> list[SchemaObject]:
    return sorted(found for found in objects if found.is_table)


def _oids(objects: Iterable[SchemaObject]) -> list[int]:
    return [found.oid for found in objects]


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} and {len(texts) - 1} more"
