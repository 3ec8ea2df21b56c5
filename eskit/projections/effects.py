"""What handlers want to happen once outside of the read model: mails, calls to other systems.

An effect is recorded in the transaction of the rows and called after it. What a crash left
uncalled is called by the next runner, so the function is kept by its name and arguments.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any

from eskit.clock import Clock
from eskit.domain.events import RecordedEvent
from eskit.errors import InvalidArgument, ProjectError
from eskit.projections import bookkeeping
from eskit.projections.port import ReadModel
from eskit.projections.records import Effect
from eskit.raised import error_line, is_ctrl_c

_LONGEST_WAIT = 60.0


class Effects:
    """The effects of one projection: recorded in a transaction, called after it."""

    def __init__(
        self, model: ReadModel[Any], projection: str, packages: Iterable[str], *, clock: Clock
    ) -> None:
        self._model = model
        self._clock = clock
        self._projection = projection
        self._packages = frozenset(packages)
        self._due: dict[tuple[str, str], tuple[float, Effect]] = {}
        self._recorded: list[Effect] = []

    def load(self) -> None:
        """Remember what an earlier runner has recorded and not called."""
        for effect in bookkeeping.find_effects(self._model, self._projection):
            self._due[effect.event_id, effect.name] = (0.0, effect)

    def begin(self) -> None:
        """Forget what a transaction recorded that was undone."""
        self._recorded.clear()

    def record(self, event: RecordedEvent, name: str, function: Callable[[], object]) -> None:
        """Record a call, unless this event's effect of that name already was."""
        path, arguments = _describe(function)
        if path.partition(":")[0].partition(".")[0] not in self._packages:
            raise InvalidArgument(
                f"{path} of effect {name!r} does not belong to the package of a handler",
                hint="Wrap it in a function beside the handler.",
            )
        effect = Effect(
            projection=self._projection,
            event_id=event.event_id,
            name=name,
            position=event.global_position,
            function=path,
            arguments=arguments,
        )
        if bookkeeping.record_effect(self._model, effect):
            self._recorded.append(effect)

    def settle(self) -> None:
        """The transaction was committed: what it recorded is due."""
        for effect in self._recorded:
            self._due[effect.event_id, effect.name] = (0.0, effect)
        self._recorded.clear()

    def find_failed(self) -> Effect | None:
        """The first of those due that was called and failed."""
        return next((effect for _, effect in self._due.values() if effect.error), None)

    def call_due(self) -> None:
        """Call what is due. One that raises is tried again later; the others are called."""
        for key, (when, effect) in list(self._due.items()):
            if when > self._clock.monotonic():
                continue
            try:
                self._call(effect)
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                attempts = effect.attempts + 1
                failed = replace(effect, attempts=attempts, error=error_line(error))
                with self._model.transaction():
                    bookkeeping.save_failed_effect(self._model, failed)
                wait = min(_LONGEST_WAIT, 2.0 ** min(attempts, 10))
                self._due[key] = (self._clock.monotonic() + wait, failed)
            else:
                with self._model.transaction():
                    bookkeeping.finish_effect(self._model, effect)
                del self._due[key]

    def _call(self, effect: Effect) -> None:
        function = _resolve(effect.function, self._packages)
        arguments = json.loads(effect.arguments)
        function(*arguments["args"], **arguments["kwargs"])


def _describe(function: Callable[[], object]) -> tuple[str, str]:
    """Where a function is found again, and its arguments as JSON."""
    called: Any = function
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(function, functools.partial):
        called, args, kwargs = function.func, function.args, function.keywords
    name = getattr(called, "__qualname__", "")
    path = f"{getattr(called, '__module__', '')}:{name}"
    if not name.isidentifier():
        raise InvalidArgument(
            f"context.once needs a function of a module, not {called!r}",
            hint="After a crash it must be found again: write it with def at the top of a module, "
            "and give arguments by functools.partial.",
        )
    try:
        arguments = json.dumps({"args": args, "kwargs": kwargs})
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"The arguments of {path} cannot be kept as JSON: {error}",
            hint="Pass texts, numbers, lists and dicts, such as the event's id.",
        ) from error
    return path, arguments


def _resolve(path: str, packages: frozenset[str]) -> Callable[..., object]:
    """The function at a recorded path, only ever from the packages of the handlers."""
    module, _, name = path.partition(":")
    if module.partition(".")[0] not in packages:
        raise ProjectError(
            f"{path} is not in a package of the projection's handlers",
            hint="Was the code moved since the effect was recorded? Put the function back.",
        )
    found = getattr(import_module(module), name, None)
    if not callable(found):
        raise ProjectError(
            f"There is no function {path} any more",
            hint="An effect that was recorded still needs it: put it back.",
        )
    return found  # type: ignore[no-any-return]
