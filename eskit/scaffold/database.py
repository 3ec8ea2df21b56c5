"""In which database the read models of a project are, as its templates see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from eskit.errors import InvalidArgument
from eskit.text.suggestions import suggestion

Database: TypeAlias = Literal["sqlite", "postgres"]
DATABASES: tuple[Database, ...] = ("sqlite", "postgres")


def find_database(name: str) -> Database:
    """The database of that name; InvalidArgument for one that no template knows."""
    for known in DATABASES:
        if known == name:
            return known
    raise InvalidArgument(
        f"No template is for database {name!r}", hint=suggestion(name, DATABASES, "Databases")
    )


def database_of(url: str) -> Database:
    """The database of a read-model URL; in memory they are in SQLite."""
    return "postgres" if url.startswith(("postgresql://", "postgres://")) else "sqlite"


def template_data(database: Database) -> Mapping[str, object]:
    """What differs: how parameters stand in SQL, and what handlers are given."""
    if database == "postgres":
        return {"postgres": True, "mark": "%s", "of_database": "[PostgresDatabase]"}
    return {"postgres": False, "mark": "?", "of_database": ""}
