"""The statements of this adapter, from its files."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import LiteralString

_FOLDER = Path(__file__).parent
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def query(name: str) -> LiteralString:
    """The statement of that name in queries.sql."""
    return _queries()[name]


@cache
def migrations() -> list[LiteralString]:
    """The scripts that make and change the tables, oldest first."""
    files = sorted((_FOLDER / "migrations").glob("*.sql"))
    return [file.read_text(encoding="utf-8") for file in files]


@cache
def functions() -> LiteralString:
    """The script that makes the functions, or replaces them."""
    return (_FOLDER / "functions.sql").read_text(encoding="utf-8")


@cache
def _queries() -> dict[str, LiteralString]:
    text = (_FOLDER / "queries.sql").read_text(encoding="utf-8")
    _, *parts = _NAMED.split(text)
    found = zip(parts[::2], parts[1::2], strict=True)
    return {name: statement.strip() for name, statement in found}
