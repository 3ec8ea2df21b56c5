"""What a read model keeps of projections that the app no longer has: renamed, or removed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import InvalidArgument, ProjectionError
from eskit.projections import bookkeeping
from eskit.projections.control import deciding, record
from eskit.projections.locks import lock_of
from eskit.projections.port import ReadModels
from eskit.projections.records import ProjectionState
from eskit.text.suggestions import suggestion


def load(models: ReadModels[Any], name: str) -> ProjectionState:
    """Where a projection stood; PROJECTION_NOT_FOUND if nothing is kept of it."""
    kept = bookkeeping.list_states(models)
    for state in kept:
        if state.name == name:
            return state
    raise ProjectionError(
        f"The read model keeps nothing of a projection {name!r}",
        code="PROJECTION_NOT_FOUND",
        hint=suggestion(name, [state.name for state in kept], "It keeps"),
    )


def rename(
    models: ReadModels[Any],
    old: str,
    new: str,
    *,
    reason: str,
    by: str,
    clock: Clock = SYSTEM_CLOCK,
) -> ProjectionState:
    """Give rows, checkpoint and decisions of a projection to one of another name.

    Raises PROJECTION_NOT_FOUND if nothing is kept of `old`, InvalidArgument if something is of
    `new`, and ProjectionBusy while somebody runs or rebuilds one of them.
    """
    load(models, old)
    with ExitStack() as stack:
        _lock(stack, models, old, new)
        model, state = stack.enter_context(deciding(models, old, reason))
        if bookkeeping.find_state(model, new) is not None:
            raise InvalidArgument(
                f"The read model already has rows of {new!r}",
                hint=f"Rebuild that one instead, and remove the other: eskit project drop {old}",
            )
        model.rename(old, new)
        record(model, new, "rename", f"from {old}", reason=reason, by=by, clock=clock)
        for name in (old, new):
            model.discard_shadow(name, "rebuild")
    return state


def drop(
    models: ReadModels[Any], name: str, *, reason: str, by: str, clock: Clock = SYSTEM_CLOCK
) -> ProjectionState:
    """Delete the tables of a projection and what is kept of it; only the audit record stays.

    Raises PROJECTION_NOT_FOUND if nothing is kept of it, and ProjectionBusy like `rename`.
    """
    load(models, name)
    with ExitStack() as stack:
        _lock(stack, models, name)
        model, state = stack.enter_context(deciding(models, name, reason))
        bookkeeping.forget(model, name)
        record(
            model,
            name,
            "drop",
            f"at {state.checkpoint.position}",
            reason=reason,
            by=by,
            clock=clock,
        )
        model.discard_shadow(name, "rebuild")
    return state


def _lock(stack: ExitStack, models: ReadModels[Any], *names: str) -> None:
    for name in names:
        stack.enter_context(lock_of(models, name, "run"))
        stack.enter_context(lock_of(models, name, "rebuild"))
