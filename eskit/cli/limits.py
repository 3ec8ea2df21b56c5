"""Lists that end at a limit, and say so when there is more."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, TypeVar

import typer

from eskit.errors import Diagnostic

Limit = Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of rows.")]
"""How many entries a list has at most."""

Item = TypeVar("Item")


def limited(
    found: Iterable[Item], limit: int, *, narrower: str
) -> tuple[list[Item], list[Diagnostic]]:
    """The first entries, and the remark that there are more; `narrower` says how to ask for less.

    Takes no more from `found` than one beyond the limit.
    """
    items = list(islice(found, limit + 1))
    if len(items) <= limit:
        return items, []
    more = Diagnostic(
        severity="info",
        code="MORE_THAN_LIMIT",
        message=f"More than {limit:,}",
        hint=f"raise --limit or {narrower}",
    )
    return items[:limit], [more]
