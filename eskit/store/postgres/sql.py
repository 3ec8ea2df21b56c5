"""The statements of this adapter, from its files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import LiteralString

from eskit.postgres.sql import read_script, read_statements

_FOLDER = Path(__file__).parent


def query(name: str) -> LiteralString:
    """The statement of that name in queries.sql."""
    return _queries()[name]


@cache
def migrations() -> list[LiteralString]:
    """The scripts that make and change the tables, oldest first."""
    return [read_script(file) for file in sorted((_FOLDER / "migrations").glob("*.sql"))]


@cache
def functions() -> LiteralString:
    """The script that makes the functions, or replaces them."""
    return read_script(_FOLDER / "functions.sql")


@cache
def _queries() -> Mapping[str, LiteralString]:
    return read_statements(_FOLDER / "queries.sql")
