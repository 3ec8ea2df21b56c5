"""Every statement of the store, each in a file named like what it does."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def query(name: str) -> str:
    """The statement in ``<name>.sql``."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


@cache
def merged_kinds(count: int, *, backward: bool) -> str:
    """One read over `count` kinds that merges their ordered indexes, a page at a time.

    Parameters: after, before, limit, tenants as JSON or NULL, then the kinds.
    """
    arm = query("read_kind")
    arms = [arm.replace(":kind", f"?{5 + number}") for number in range(count)]
    order = "DESC" if backward else "ASC"
    return " UNION ALL ".join(arms) + f" ORDER BY 1 {order} LIMIT ?3"
