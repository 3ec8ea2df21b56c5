"""How long a call may take: it holds wherever eskit waits, whichever way the call came in."""

from __future__ import annotations

import threading

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.services import Method
from eskit.errors import OutOfTime, RequestTimeout

_FOR_THE_ANSWER = 0.1, 0.25


def unanswered(method: Method, seconds: float | None) -> RequestTimeout:
    """What a caller is told who has waited long enough: the handler may still be at work.

    None stands for a service that ends and waits no longer.
    """
    when = "before its service stopped" if seconds is None else f"within {seconds:g} s"
    return RequestTimeout(
        f"{method.path} did not answer {when}",
        hint="The command may have run: send it again with the same command id."
        if method.kind == "command"
        else "Try again, or give it more time.",
    )


def with_time_to_answer(seconds: float) -> float:
    """How long work may take whose caller waits so long: what it comes to has to arrive in time."""
    share, most = _FOR_THE_ANSWER
    return seconds - min(share * seconds, most)


class Deadline:
    """When the time of one call is over."""

    __slots__ = ("_clock", "_end", "method", "seconds")

    def __init__(self, method: Method, seconds: float, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.method = method
        self.seconds = seconds
        self._clock = clock
        self._end = clock.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until it; 0 from then on. Never more than a thread can be told to wait."""
        left = self._end - self._clock.monotonic()
        return min(left, threading.TIMEOUT_MAX) if left > 0 else 0.0  # NaN is no time

    def check(self) -> None:
        """Raise OutOfTime once it has passed."""
        if not self.left:
            raise self.passed()

    def passed(self, why: str = "") -> OutOfTime:
        """What to raise when it has passed; `why` is a sentence without its end."""
        nothing = "; nothing was appended" if self.method.kind == "command" else ""
        reason = f". {why}" if why else ""
        return OutOfTime(
            f"{self.method.path} was not done within {self.seconds:g} s{nothing}{reason}",
            hint="Send it again, or give it more time.",
        )

    def sleep(self, seconds: float) -> None:
        """Let so much time pass, but no more than is left."""
        self._clock.sleep(min(seconds, self.left))
