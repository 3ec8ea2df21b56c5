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
def merged(name: str, count: int, *, first: int, backward: bool = False) -> str:
    """The read of one kind, for `count` of them: it merges their indexes, a page at a time.

    Parameters: after, before, limit, whatever else it has, and from number `first` on the kinds.
    """
    arm = query(name)
    arms = [arm.replace(":kind", f"?{first + number}") for number in range(count)]
    order = "DESC" if backward else "ASC"
    return " UNION ALL ".join(arms) + f" ORDER BY 1 {order} LIMIT ?3"
