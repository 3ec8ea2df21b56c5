"""Waiting until projections have passed a position, in whichever process they are run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ProjectionFailed
from eskit.projections import bookkeeping
from eskit.projections.checkpoints import check_checkpoint
from eskit.projections.log import EventLog
from eskit.projections.port import ReadModels
from eskit.projections.progress import ProjectionProgress, ReportProjectionProgress

# Between two looks at a checkpoint that another process moves.
_POLL = 0.01


class CheckpointWaiter:
    """Looks at checkpoints when somebody of this process has moved one, else every so often."""

    def __init__(
        self,
        log: EventLog,
        models: ReadModels[Any],
        *,
        moved: Callable[[], object] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`moved` is told when somebody of this process has moved a checkpoint."""
        self._log = log
        self._models = models
        self._clock = clock
        self._tell = moved
        self._moved = threading.Condition()

    def has_passed(self, name: str, position: int) -> bool:
        """Whether a projection is there already, and in this log: CheckpointMismatch if not."""
        state = bookkeeping.find_state(self._models, name)
        if state is None or state.checkpoint.position < position:
            return False
        check_checkpoint(state, self._log)
        return True

    def wait_for(self, name: str, position: int, timeout: float) -> bool:
        """Wait until a projection has passed a position; False if it has not in time.

        Raises ProjectionFailed if it stopped before, CheckpointMismatch if it passed the position
        in another log.
        """
        deadline = self._clock.monotonic() + timeout
        while not self.has_passed(name, position):
            for failure in bookkeeping.find_failures(self._models, name):
                if failure.phase == "run" and failure.position <= position:
                    raise ProjectionFailed(
                        f"{name} stopped before {failure.position:,}: {failure.error}",
                        hint=f"See why: eskit project status {name}",
                    )
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                return False
            with self._moved:
                self._clock.wait(self._moved, min(remaining, _POLL))
        return True

    def announcing(self, progress: ReportProjectionProgress | None) -> ReportProjectionProgress:
        """Wake who waits whenever a projection comes on, then hand its progress on."""

        def report(step: ProjectionProgress) -> None:
            self.announce()
            if progress is not None:
                progress(step)

        return report

    def announce(self) -> None:
        """Wake who waits: a checkpoint was moved."""
        with self._moved:
            self._moved.notify_all()
        self._tell()
