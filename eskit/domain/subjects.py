"""What an app calls its JetStream stream and the subjects of its events.

By default both come from the app's name, so that apps can share a server with each other, and with
whatever calls its stream ``EVENTS``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

RESERVED = ("events", "tenants")
"""What the subject of no request begins with: a stream may listen to all that follows."""


class StreamNames(NamedTuple):
    """A JetStream stream, and what the subjects that it listens to begin with."""

    stream: str
    prefix: str


def names_of(app_name: str) -> StreamNames:
    """What an app's stream and prefix are called unless its settings say so: ``BANK_EVENTS``."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", app_name).strip("_") or "app"
    if word.lower() in RESERVED:
        word = f"{word}_app"
    return StreamNames(f"{word.upper()}_EVENTS", f"{word.lower()}.events")


DEFAULT_NAMES = names_of("eskit")
"""Where no app is known."""
