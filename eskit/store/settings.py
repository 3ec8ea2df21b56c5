"""What a store is opened with, whichever adapter it is."""

from __future__ import annotations

from datetime import timedelta

DEFAULT_COMMAND_TTL = timedelta(days=7)
"""How old the record of a command is before it may be pruned."""
