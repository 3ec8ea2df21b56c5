"""Schemas in which rows are built beside the live ones, and what keeps a build inside of its own.

A build finds its tables by the search path: its own schema first, then the live one, in which it
reads what other projections keep. A table that its own schema lacks it would find there as well,
and write to; hence `Fence`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

from psycopg import sql

from eskit.errors import ProjectionFailed
from eskit.postgres.connection import Connection
from eskit.postgres.sql import read_statements
from eskit.projections.port import Purpose

Place: TypeAlias = Purpose | Literal["place", "gone"]
"""What a schema is for: shadow rows, a rebuild in place, or tables that an exchange drops."""

_STATEMENTS = Path(__file__).with_name("shadow.sql")
_MAX_NAME = 63
_DIGEST = 12


def shadow_schema(live: str, projection: str, purpose: Place) -> str:
    """The schema of shadow rows; a digest stands for the end of what is too long for a name."""
    name = f"{live}_{purpose}_{projection}"
    encoded = name.encode()
    if len(encoded) <= _MAX_NAME:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:_DIGEST]
    return f"{encoded[: _MAX_NAME - _DIGEST - 1].decode(errors='ignore')}_{digest}"


def discard_shadow(connection: Connection, live: str, projection: str, purpose: Place) -> None:
    """Drop a schema of shadow rows with all that is in it; harmless where there is none."""
    schema = sql.Identifier(shadow_schema(live, projection, purpose))
    connection.execute("SET client_min_messages = warning")
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
    connection.execute("RESET client_min_messages")


class Fence:
    """Notices what a transaction writes outside of its own schema.

    `records` says that it may write eskit's own tables in the live schema.
    """

    def __init__(
        self, connection: Connection, *, live: str, own: str, records: bool = False
    ) -> None:
        self._connection = connection
        self._live = live
        self._own = own
        self._records = records
        self._relations: dict[int, str] = {}
        self._written_before: set[int] = set()

    def begin(self) -> None:
        """Remember what is there, and what the transaction has written before."""
        rows = self._connection.execute(
            read_statements(_STATEMENTS)["list_relations"], {"live": self._live}
        )
        self._relations = dict(rows.fetchall())
        self._written_before = {oid for oid, *_ in self._list_written()}

    def check(self, projection: str) -> None:
        """Raise ProjectionFailed if something outside was written; last in the transaction."""
        found = self._find_written()
        if found:
            raise ProjectionFailed(
                f"The build of {projection!r} wrote to {', '.join(found)}, which its own "
                "migrations do not make",
                hint="Write to tables of the projection alone, and create each in its migrations.",
            )

    def _find_written(self) -> list[str]:
        found = set()
        for oid, schema, name in self._list_written():
            if oid in self._written_before:
                continue
            if schema is None:  # dropped: of the live ones, or one that it made itself
                found.add(self._relations.get(oid, ""))
            elif schema == self._live and self._records and name.startswith("eskit_"):
                continue
            elif schema != self._own:
                found.add(name if schema == self._live else f"{schema}.{name}")
        return sorted(found - {""})

    def _list_written(self) -> list[tuple[Any, ...]]:
        return self._connection.execute(read_statements(_STATEMENTS)["list_written"]).fetchall()
