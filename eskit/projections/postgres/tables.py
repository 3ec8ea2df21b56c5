"""What stands in a schema, whose it is, and how it is declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import sql

from eskit.errors import MigrationInvalid
from eskit.postgres.connection import Connection
from eskit.postgres.sql import read_statements

_STATEMENTS = Path(__file__).with_name("tables.sql")
_CLAUSES = {"composite type": "TYPE", "statistics object": "STATISTICS"}
_IMMOVABLE = {
    "cast": "CREATE CAST",
    "extension": "CREATE EXTENSION",
    "foreign table": "CREATE FOREIGN TABLE",
    "server": "CREATE SERVER",
}


@dataclass(frozen=True, slots=True, order=True)
class SchemaObject:
    """Something that stands in a schema by itself: a table, a view, a function and so on.

    `kind` is as PostgreSQL names it, `name` is without the schema; that of a function has its
    arguments: ``total(integer)``. `identity` is what a statement calls it now.
    """

    kind: str
    name: str
    identity: str = field(compare=False)
    catalog: int = field(compare=False)
    oid: int = field(compare=False)

    @property
    def clause(self) -> str:
        """The object as ALTER and DROP name it."""
        return f"{_CLAUSES.get(self.kind, self.kind.upper())} {self.identity}"

    @property
    def is_table(self) -> bool:
        """Whether it has rows that somebody wrote."""
        return self.kind == "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it is declared: what its rows are made of, and what is made on it.

    `columns` are in order; `generated` ones make themselves. `own_types` has the types of those
    whose type stands in the schema as well: to PostgreSQL that of another schema is another one.
    """

    name: str
    columns: tuple[str, ...]
    generated: frozenset[str]
    own_types: Mapping[str, str]
    key: tuple[str, ...]
    declared: tuple[tuple[Any, ...], ...]
    parts: Mapping[tuple[str, str], str]


def list_objects(connection: Connection, schema: str) -> list[SchemaObject]:
    """What stands in a schema by itself, but for eskit's own tables."""
    rows = _read(connection, "list_objects", {"schema": schema})
    return [SchemaObject(kind, name, identity, *ids) for *ids, kind, name, identity in rows]


def list_owners(connection: Connection, live: str) -> dict[tuple[str, str], str]:
    """The projection that eskit_objects says something belongs to, by kind and name."""
    rows = _read(connection, "list_owners", {}, live=live)
    return {(kind, name): projection for kind, name, projection in rows}


def refuse_immovable(projection: str, objects: Iterable[SchemaObject]) -> None:
    """Raise MigrationInvalid for what no rebuild can put in the place of the live one."""
    for found in objects:
        if found.kind in _IMMOVABLE:
            raise MigrationInvalid(
                f"A migration of projection {projection!r} makes {found.name!r} with "
                f"{_IMMOVABLE[found.kind]}, which a rebuild cannot make a second time",
                hint="Let an administrator make it once, in another schema: public",
            )


def find_owned(
    connection: Connection, live: str, projection: str, fresh: Iterable[SchemaObject]
) -> list[SchemaObject]:
    """What a projection has in the live schema, where `fresh` is to come.

    Raises MigrationInvalid for a name of `fresh` that another projection uses, or no projection.
    """
    owners = list_owners(connection, live)
    found = list_objects(connection, live)
    there = {(each.kind, each.name) for each in found}
    for each in fresh:
        owner = owners.get((each.kind, each.name))
        if owner not in {None, projection}:
            raise MigrationInvalid(
                f"{each.name!r} of projection {projection!r} already belongs to {owner!r}",
                hint=f"If {owner!r} was renamed: eskit project rename {owner} {projection}. "
                "If not, give every projection tables of its own.",
            )
        if owner is None and (each.kind, each.name) in there:
            raise MigrationInvalid(
                f"Schema {live!r} has a {each.kind} {each.name!r} already, and no projection "
                "made it",
                hint="Choose another name, or another schema for the read models: ?schema=NAME",
            )
    return [each for each in found if owners.get((each.kind, each.name)) == projection]


def own(
    connection: Connection, live: str, projection: str, objects: Iterable[SchemaObject]
) -> None:
    """Note that these objects, and no others, are the projection's."""
    _run(connection, "disown", {"projection": projection}, live=live)
    with connection.cursor() as cursor:
        cursor.executemany(
            _statement("own", live=live),
            [(projection, found.kind, found.name) for found in objects],
        )


def list_dependents(connection: Connection, objects: Sequence[SchemaObject]) -> list[str]:
    """Views, foreign keys, publications and the like of others that need one of these objects."""
    values = {
        "classes": [found.catalog for found in objects],
        "objects": [found.oid for found in objects],
    }
    return [text for (text,) in _read(connection, "list_dependents", values)]


def declare_table(connection: Connection, table: SchemaObject) -> Table:
    """How a table is declared; names of its own schema are without it, see `searching`."""
    values = {"table": table.oid}
    columns = _read(connection, "list_columns", values)
    constraints = _read(connection, "list_constraints", values)
    return Table(
        name=table.name,
        columns=tuple(column[0] for column in columns),
        generated=frozenset(column[0] for column in columns if column[4]),
        own_types={column[0]: column[1] for column in columns if column[-1]},
        key=tuple(name for (name,) in _read(connection, "list_key", values)),
        declared=(*columns, *constraints),
        parts={(kind, name): text for kind, name, text in _read(connection, "list_parts", values)},
    )


def declare_other(connection: Connection, schema: str, found: SchemaObject) -> str:
    """How anything but a table is declared; empty where only its name counts."""
    statement = {
        "view": "declare_view",
        "materialized view": "declare_view",
        "function": "declare_function",
        "procedure": "declare_function",
        "type": "declare_type",
    }.get(found.kind)
    if statement is None:
        return ""
    ((text,),) = _read(connection, statement, {"object": found.oid, "schema": schema})
    return str(text)


def same_row(table: Table, one: str, other: str, columns: Sequence[str] | None = None) -> str:
    """The condition that aliases of a table in two schemas have the same values, as stored.

    With `columns` that they are equal in these, which may be keys.
    """
    if columns is None:
        return f"{one}::text = {other}::text" if table.own_types else f"{one} *= {other}"
    texts = {name: "::text" if name in table.own_types else "" for name in columns}
    return " AND ".join(
        f"{one}.{quoted(name)}{text} = {other}.{quoted(name)}{text}" for name, text in texts.items()
    )


def list_sequences(connection: Connection, schema: str) -> dict[str, tuple[str, int | None]]:
    """Each sequence with the table it counts for, if any, and the last number it gave."""
    rows = _read(connection, "list_sequences", {"schema": quoted(schema)})
    return {name: (table, _last_number(connection, schema, name)) for name, table in rows}


def _last_number(connection: Connection, schema: str, sequence: str) -> int | None:
    # pg_sequence_last_value would lock it as nextval does, and look like one to a Fence.
    ((last,),) = connection.execute(
        "SELECT CASE WHEN is_called THEN last_value END "  # noqa: S608 - quoted names
        f"FROM {quoted(schema)}.{quoted(sequence)}".encode()
    ).fetchall()
    return None if last is None else int(last)


@contextmanager
def searching(connection: Connection, *schemas: str) -> Iterator[None]:
    """Look for names in these schemas within the block, which is inside a transaction."""
    ((before,),) = connection.execute("SELECT current_setting('search_path')").fetchall()
    search(connection, *schemas)
    yield
    connection.execute("SELECT set_config('search_path', %s, true)", (before,))


def search(connection: Connection, *schemas: str) -> None:
    """Look for names in these schemas until the transaction ends."""
    path = ", ".join([*map(quoted, schemas), "pg_temp"])
    connection.execute("SELECT set_config('search_path', %s, true)", (path,))


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _read(
    connection: Connection, name: str, values: Mapping[str, object], live: str | None = None
) -> list[tuple[Any, ...]]:
    return connection.execute(_statement(name, live), values).fetchall()


def _run(connection: Connection, name: str, values: Mapping[str, object], live: str) -> None:
    connection.execute(_statement(name, live), values)


def _statement(name: str, live: str | None = None) -> sql.SQL | sql.Composed:
    text = sql.SQL(read_statements(_STATEMENTS)[name])
    return text if live is None else text.format(live=sql.Identifier(live))
