"""The statements about eskit's own tables, from their files, for one schema."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from eskit.postgres.sql import read_script, read_statements
from eskit.projections.postgres.tables import quoted

_FOLDER = Path(__file__).parent


@cache
def query(name: str, schema: str) -> str:
    """The statement of that name in queries.sql, to be run with parameters."""
    text = read_statements(_FOLDER / "queries.sql")[name]
    # A statement with parameters has a % for each.
    return text.replace("{schema}", quoted(schema).replace("%", "%%"))


def create_bookkeeping(schema: str) -> str:
    """The script that makes a schema with eskit's own tables, where they are missing."""
    text = read_script(_FOLDER / "create_bookkeeping.sql")
    return text.replace("{schema}", quoted(schema))
