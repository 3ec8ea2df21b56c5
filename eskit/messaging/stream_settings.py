"""How the relay's JetStream stream is set up, and whether one that is there fits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eskit.domain.subjects import DEFAULT_NAMES
from eskit.errors import MessagingError
from eskit.nats.headers import stream_subjects
from eskit.text.quantities import format_duration, format_size

_DUPLICATE_WINDOW = 120.0
_NO_LIMIT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """How the JetStream stream keeps events.

    `max_age` in seconds and `max_bytes` are limits for throwing the oldest away; 0 is none.
    `duplicate_window` is for how many seconds the stream knows an event id again. What is None is
    left to the server and not compared with a stream that exists already.
    """

    name: str = DEFAULT_NAMES.stream
    prefix: str = DEFAULT_NAMES.prefix
    replicas: int | None = None
    max_age: float | None = None
    max_bytes: int | None = None
    duplicate_window: float | None = None

    def config(self) -> dict[str, Any]:
        """The stream's configuration as JetStream wants it."""
        config: dict[str, Any] = {
            "name": self.name,
            "subjects": stream_subjects(self.prefix),
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "allow_direct": True,
            # JetStream wants it to be no longer than the age.
            "duplicate_window": _nanoseconds(min(_DUPLICATE_WINDOW, self.max_age or math.inf)),
            "num_replicas": self.replicas or 1,
        }
        return {**config, **self._limits()}

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise BROKER_MISMATCH, naming every difference, if an existing stream does not fit."""
        wanted: dict[str, Any] = {"retention": "limits", "storage": "file", **self._limits()}
        if self.replicas is not None:
            wanted["num_replicas"] = self.replicas
        # With others a stream acknowledges or takes nothing, or throws away what followers need.
        given = {"no_ack": False, "sealed": False, "max_msgs_per_subject": _NO_LIMIT, **config}
        wanted |= {"no_ack": False, "sealed": False, "max_msgs_per_subject": _NO_LIMIT}
        differences = [
            f"{key} is {_shown(key, given.get(key))}, not {_shown(key, value)}"
            for key, value in wanted.items()
            if given.get(key) != value
        ]
        missing = set(stream_subjects(self.prefix)) - set(config.get("subjects") or ())
        differences += [f"it does not listen to {subject}" for subject in sorted(missing)]
        if differences:
            raise MessagingError(
                f"Stream {self.name} is configured differently: {'; '.join(differences)}",
                code="BROKER_MISMATCH",
                hint=f"Change the settings, or the stream: nats stream edit {self.name}. "
                "eskit does not change a stream by itself.",
            )

    def _limits(self) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        if self.max_age is not None:
            limits["max_age"] = _nanoseconds(self.max_age)
        if self.max_bytes is not None:
            limits["max_bytes"] = self.max_bytes or _NO_LIMIT
        if self.duplicate_window is not None:
            limits["duplicate_window"] = _nanoseconds(self.duplicate_window)
        return limits


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _shown(key: str, value: object) -> str:
    """A value of the stream's configuration as people write it."""
    if isinstance(value, bool) or not isinstance(value, int) or key == "num_replicas":
        return str(value).lower()
    if value in (0, _NO_LIMIT):
        return "unlimited"
    if key == "max_msgs_per_subject":
        return str(value)
    return format_size(value) if key == "max_bytes" else format_duration(value / 1e9)
