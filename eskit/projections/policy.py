"""What a projection does when a handler raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from eskit.errors import InvalidArgument

Then: TypeAlias = Literal["stop", "set_aside_event", "set_aside_stream"]
"""What comes after the last try: stop before the event, keep it as a dead letter and continue, or
do that and let later events of its stream wait behind it, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """Try again `retries` times, then do what `then` says.

    The first try comes after `first_wait` seconds, each further one after twice as long, at most
    `longest_wait`. Other projections continue meanwhile. A rebuild never tries again.
    """

    then: Then = "stop"
    retries: int = 2
    first_wait: float = 0.05
    longest_wait: float = 5.0

    def __post_init__(self) -> None:
        if self.then not in get_args(Then):
            raise InvalidArgument(
                f"{self.then!r} is not a failure action",
                hint=f"Choose one of {', '.join(get_args(Then))}.",
            )
        if self.retries < 0 or self.first_wait < 0 or self.longest_wait < 0:
            raise InvalidArgument(
                "Retries and waits of a failure policy must not be negative", hint="Use 0 for none."
            )

    def wait_after(self, attempts: int) -> float:
        """How long to wait after so many attempts that failed."""
        return float(min(self.longest_wait, self.first_wait * 2 ** min(attempts - 1, 30)))
