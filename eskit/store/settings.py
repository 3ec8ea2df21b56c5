"""What a store is opened with, whichever adapter it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""The current time as whole microseconds since 1970 UTC."""

DEFAULT_COMMAND_TTL = timedelta(days=7)
"""How long a command id is answered with its first result."""


def system_clock() -> int:
    """The clock of the machine."""
    return time.time_ns() // 1000
