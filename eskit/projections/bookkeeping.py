"""What is kept of projections, by type: above the port, which only knows records.

All that changes something is part of the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, get_args

from eskit.domain.ids import new_id
from eskit.domain.time import from_microseconds, to_microseconds
from eskit.errors import ReadModelUnavailable
from eskit.projections.port import LiveReadModel, ReadModel, ReadModels, Records
from eskit.projections.records import (
    START,
    AppliedMigration,
    Decision,
    Effect,
    EventPosition,
    Failure,
    Kind,
    Phase,
    ProjectionDeadLetter,
    ProjectionState,
    Record,
    Skip,
)

Model: TypeAlias = ReadModel[Any]
"""A read model whatever its rows are."""
Live: TypeAlias = LiveReadModel[Any]
Kept = TypeVar("Kept", AppliedMigration, Decision, ProjectionDeadLetter, Effect, Failure, Skip)

_COLUMNS: dict[type[Any], list[tuple[str, bool]]] = {
    kept_as: [(field.name, field.type == "datetime") for field in fields(kept_as)]
    for kept_as in Kept.__constraints__
}
"""What is kept of each type, and whether that is a time."""
_DIGITS = 19
_EXCEPTIONS: tuple[Kind, ...] = ("dead_letter", "skip")


def list_states(kept: Records) -> list[ProjectionState]:
    """Every projection remembered, by name; none if nothing was written yet."""
    return [_state(record) for record in kept.records("state")]


def find_state(kept: Records, name: str) -> ProjectionState | None:
    """What is remembered of a projection, if it was ever prepared."""
    for record in kept.records("state", name):
        return _state(record)
    return None


def load_state(kept: Records, name: str) -> ProjectionState:
    """What is remembered of a projection; ReadModelUnavailable if nothing is."""
    return _known(find_state(kept, name), name)


def load_states(kept: Records, names: Sequence[str]) -> list[ProjectionState]:
    """The same of several at one moment, in one look."""
    found = {state.name: state for state in list_states(kept)} if names else {}
    return [_known(found.get(name), name) for name in names]


def _known(state: ProjectionState | None, name: str) -> ProjectionState:
    if state is None:
        raise ReadModelUnavailable(
            f"The read model has no checkpoint for projection {name!r}",
            hint="Start again: its file was replaced.",
        )
    return state


def find_rebuild_position(models: ReadModels[Any], name: str) -> int | None:
    """How far an unfinished rebuild has come, if there is one."""
    for record in models.records("state", name, shadow=True):
        return _state(record).checkpoint.position
    return None


def save_state(model: Model, state: ProjectionState) -> None:
    """Remember a projection."""
    at = state.checkpoint
    value = {
        "position": at.position,
        "event_id": at.event_id,
        "place": at.place,
        "version": state.version,
        "store_id": state.store_id,
        "updated_at": to_microseconds(state.updated_at),
        "pause": state.pause,
        "has_exceptions": state.has_exceptions,
    }
    model.save(Record("state", state.name, "", json.dumps(value)))


def advance(
    model: Model, name: str, *, before: EventPosition, after: EventPosition, now: datetime
) -> None:
    """Move a checkpoint; ReadModelUnavailable if it is not at `before`.

    The transaction lets no other process write. So it can only be a handler that has moved it.
    """
    state = find_state(model, name)
    if state is None or state.checkpoint != before:
        raise ReadModelUnavailable(
            f"The checkpoint of {name!r} was changed from within a handler",
            hint="Tables that begin with eskit_ belong to eskit.",
        )
    save_state(model, replace(state, checkpoint=after, updated_at=now))


def move_checkpoint(
    model: Model, state: ProjectionState, *, store_id: str, checkpoint: EventPosition, now: datetime
) -> None:
    """Set a checkpoint wherever it was, and forget what stopped it and what is handled again."""
    save_state(model, replace(state, store_id=store_id, checkpoint=checkpoint, updated_at=now))
    for letter in find_dead_letters(model, state.name):
        if letter.position > checkpoint.position:
            delete_dead_letter(model, letter)
    clear_failures(model, state.name, "run", "retry")


def find_migrations(kept: Records, name: str) -> list[AppliedMigration]:
    """The migrations that were applied, in order."""
    return _find(AppliedMigration, kept, "migration", name)


def save_migration(model: Model, applied: AppliedMigration) -> None:
    """Remember that a migration was applied."""
    _save(model, "migration", f"{applied.number:0{_DIGITS}}", applied)


def find_failures(kept: Records, name: str) -> list[Failure]:
    """The event that stopped the projection and the one that stopped its rebuild, if any."""
    failures = _find(Failure, kept, "failure", name)
    return sorted(failures, key=lambda failure: failure.phase, reverse=True)


def save_failure(model: Model, failure: Failure) -> None:
    """Remember a failure instead of the one before it."""
    _save(model, "failure", failure.phase, failure)


def clear_failures(model: Model, name: str, *phases: Phase) -> None:
    """Forget failures that were overcome."""
    for phase in phases:
        model.delete("failure", name, phase)


def find_dead_letters(kept: Records, name: str) -> list[ProjectionDeadLetter]:
    """The dead letters of a projection, by position."""
    return _find(ProjectionDeadLetter, kept, "dead_letter", name)


def save_dead_letter(model: Model, letter: ProjectionDeadLetter) -> None:
    """Keep a dead letter, instead of an earlier one for the event."""
    _save(model, "dead_letter", _at(letter.position), letter)
    _note_exceptions(model, letter.projection, found=True)


def delete_dead_letter(model: Model, letter: ProjectionDeadLetter) -> None:
    """Forget a dead letter that was handled or skipped."""
    model.delete("dead_letter", letter.projection, _at(letter.position))
    _note_exceptions(model, letter.projection, found=has_exceptions(model, letter.projection))


def find_skips(kept: Records, name: str) -> list[Skip]:
    """The events that a projection skips, by position."""
    return sorted(_find(Skip, kept, "skip", name), key=lambda skip: skip.position)


def save_skip(model: Model, skip: Skip) -> None:
    """Keep a decision to skip an event."""
    _save(model, "skip", skip.event_id, skip)
    _note_exceptions(model, skip.projection, found=True)


def has_exceptions(kept: Records, name: str) -> bool:
    """Whether there are dead letters or skips."""
    return any(kept.records(kind, name) for kind in _EXCEPTIONS)


def find_effects(kept: Records, name: str) -> list[Effect]:
    """The effects of a projection that are still to be called, by position."""
    effects = _find(Effect, kept, "effect", name)
    return sorted(effects, key=lambda effect: (effect.position, effect.name))


def record_effect(model: Model, effect: Effect) -> bool:
    """Record an effect; False if it already is, called or not."""
    kinds: tuple[Kind, ...] = ("effect", "called")
    if any(model.records(kind, effect.projection, _key_of(effect)) for kind in kinds):
        return False
    _save(model, "effect", _key_of(effect), effect)
    return True


def save_failed_effect(model: Model, effect: Effect) -> None:
    """Keep why a call did not go well."""
    _save(model, "effect", _key_of(effect), effect)


def finish_effect(model: Model, effect: Effect) -> None:
    """Keep that a call was made, so that it is not made again."""
    _save(model, "called", _key_of(effect), replace(effect, error=""))
    model.delete("effect", effect.projection, _key_of(effect))


def list_decisions(kept: Records, name: str) -> list[Decision]:
    """The audit record of a projection, oldest first."""
    return _find(Decision, kept, "decision", name)


def save_decision(model: Model, decision: Decision) -> None:
    """Add to the audit record."""
    _save(model, "decision", new_id(), decision)  # ids sort as they were made


def begin_again(model: Live, name: str) -> None:
    """Drop the rows of a projection and what stopped it; a pause and skips last."""
    model.drop(name)
    clear(model, name, "migration", "failure", "dead_letter")
    state = find_state(model, name)
    if state is not None:
        exceptions = has_exceptions(model, name)
        save_state(model, replace(state, checkpoint=START, has_exceptions=exceptions))


def adopt(model: Model, built: ProjectionState, migrations: Sequence[AppliedMigration]) -> None:
    """Let the rows that were swapped in be those of the projection; a pause and skips last."""
    name = built.name
    clear(model, name, "migration", "failure", "dead_letter")
    for applied in migrations:
        save_migration(model, applied)
    live = find_state(model, name)
    pause = live.pause if live is not None else None
    save_state(model, replace(built, pause=pause, has_exceptions=has_exceptions(model, name)))


def forget(model: Live, name: str) -> None:
    """Drop the rows of a projection and all that is kept of it, but not the audit record."""
    model.drop(name)
    clear(model, name, *(kind for kind in get_args(Kind) if kind != "decision"))


def clear(model: Model, name: str, *kinds: Kind) -> None:
    """Forget everything of some kinds."""
    for kind in kinds:
        for record in model.records(kind, name):
            model.delete(kind, name, record.key)


def _find(kept_as: type[Kept], kept: Records, kind: Kind, name: str) -> list[Kept]:
    columns = _COLUMNS[kept_as]
    found = []
    for record in kept.records(kind, name):
        value: dict[str, Any] = json.loads(record.value) | {"projection": record.projection}
        known: dict[str, Any] = {
            name: from_microseconds(value[name]) if is_time else value[name]
            for name, is_time in columns
        }
        found.append(kept_as(**known))
    return found


def _save(model: Model, kind: Kind, key: str, value: Kept) -> None:
    found = {name: getattr(value, name) for name, _ in _COLUMNS[type(value)]}
    projection = found.pop("projection")
    known = {
        name: to_microseconds(each) if isinstance(each, datetime) else each
        for name, each in found.items()
    }
    model.save(Record(kind, projection, key, json.dumps(known)))


@lru_cache(maxsize=64)  # of each projection the same is asked for again and again
def _state(record: Record) -> ProjectionState:
    value: dict[str, Any] = json.loads(record.value)
    return ProjectionState(
        name=record.projection,
        version=value["version"],
        store_id=value["store_id"],
        checkpoint=EventPosition(value["position"], value["event_id"], value["place"]),
        updated_at=from_microseconds(value["updated_at"]),
        pause=value["pause"],
        has_exceptions=value["has_exceptions"],
    )


def _note_exceptions(model: Model, name: str, *, found: bool) -> None:
    state = find_state(model, name)
    if state is not None and state.has_exceptions != found:
        save_state(model, replace(state, has_exceptions=found))


def _at(position: int) -> str:
    return f"{position:0{_DIGITS}}"


def _key_of(effect: Effect) -> str:
    return f"{effect.event_id} {effect.name}"
