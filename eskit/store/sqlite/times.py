"""Times as the file keeps them: whole microseconds since 1970 UTC."""

from __future__ import annotations

from datetime import datetime

from eskit.domain.time import from_microseconds
from eskit.errors import StoreDamaged


def moment(microseconds: int, url: str) -> datetime:
    """The time that is kept in the store at `url`; StoreDamaged for what cannot be one."""
    try:
        return from_microseconds(microseconds)
    except (OverflowError, TypeError) as error:
        raise StoreDamaged(f"{url} is damaged: {microseconds!r} is kept as a time") from error
