"""What is known of the projections that a process runs: who stopped, who stands by, what waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from eskit.clock import SYSTEM_CLOCK
from eskit.errors import EskitError, ServiceError
from eskit.processes.holding import Holder

if TYPE_CHECKING:
    from eskit.projections.engine import ProjectionEngine
    from eskit.projections.progress import ProjectionProgress


class ProjectionWatch:
    """Hears of what happens to the projections of an engine, and says whether they are well.

    `tell` takes a line about them that is no problem, `on_stop` the name of one that has stopped
    and why, `on_waiting` what all of them wait for, or None when they resume; each once.
    """

    def __init__(
        self,
        engine: ProjectionEngine,
        *,
        tell: Callable[[str], None],
        on_stop: Callable[[str, EskitError], None],
        on_waiting: Callable[[EskitError | None], None],
    ) -> None:
        self._engine, self._tell = engine, tell
        self._on_stop, self._on_waiting = on_stop, on_waiting
        self._stopped: dict[str, EskitError] = {}
        self._holders: dict[str, Holder] = {}
        self._error: EskitError | None = None

    @property
    def holders(self) -> Mapping[str, Holder]:
        """The processes that run projections while this one stands by, by projection."""
        return self._holders

    def progress(self, progress: ProjectionProgress) -> None:
        """Note where a projection is: it has stopped, resumed, or is run by another process."""
        name = progress.name
        if progress.error is not None:
            self._holders.pop(name, None)
            if str(self._stopped.get(name)) != str(progress.error):
                self._stopped[name] = progress.error
                self._on_stop(name, progress.error)
            return
        stopped = self._stopped.pop(name, None)
        if progress.holder is not None:
            self._holders[name] = progress.holder
            self._tell(f"standing by: {progress.holder.text} runs {name}")
            return
        self.waiting(None)
        if self._holders.pop(name, None) or stopped is not None:
            self._tell(f"resumed {name} after {progress.position:,}")

    def waiting(self, error: EskitError | None) -> None:
        """Note that the projections wait, or that they have resumed."""
        changed = (error is None) != (self._error is None)
        self._error = error
        if changed:
            self._on_waiting(error)

    def check(self) -> None:
        """Raise why some of them are not well: stopped, waiting, hanging, or to be decided about.

        One that another process runs is that process's concern.
        """
        problems = [str(error) for error in (*self._stopped.values(), self._error) if error]
        problems += [call.text(SYSTEM_CLOCK.now) for call in self._engine.slow_calls()]
        for name, problem in self._engine.problems().items():
            if name not in {*self._holders, *self._stopped}:
                problems.append(f"{name}: {problem}")
        if problems:
            raise ServiceError("; ".join(problems))

    def describe(self) -> str:
        """What is well all the same, and has to be known: who else runs them."""
        return ", ".join(f"standing by for {name}" for name in sorted(self._holders))
