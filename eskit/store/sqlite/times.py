"""Times as the file keeps them: whole microseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from eskit.errors import StoreDamaged

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int, url: str) -> datetime:
    """The time that is kept in the store at `url`; StoreDamaged for what cannot be one."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except (OverflowError, TypeError) as error:
        raise StoreDamaged(f"{url} is damaged: {microseconds!r} is kept as a time") from error
