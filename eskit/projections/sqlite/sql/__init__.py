"""The SQL of read models: one file for each operation."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def query(name: str) -> str:
    """The statement in ``<name>.sql``."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
