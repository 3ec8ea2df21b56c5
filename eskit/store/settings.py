"""What a store is opened with, whichever adapter it is."""

from __future__ import annotations

from datetime import timedelta

DEFAULT_COMMAND_TTL = timedelta(days=7)
"""How long a command id is answered with its first result."""
