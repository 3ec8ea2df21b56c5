"""Whether events stored with one schema can be read with another.

Pure: descriptors in, changes out. What a change touches in a store is looked up elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from google.protobuf.descriptor import Descriptor

from eskit.schema.changes import EVOLVE, SchemaChange
from eskit.schema.comparison import compare_messages
from eskit.schema.options import event_options


def compare_types(
    old: Mapping[str, Sequence[Descriptor]], new: Mapping[str, Descriptor]
) -> list[SchemaChange]:
    """What became of each event type.

    `old` holds every schema a type had, oldest first (none for a type whose schema is unknown);
    `new` the event types of the working protos.
    """
    changes: dict[SchemaChange, None] = {}
    for event_type, versions in sorted(old.items()):
        current = new.get(event_type)
        if current is None:
            changes[_removed_type(event_type, versions, old, new)] = None
            continue
        changes |= dict.fromkeys(_moved_between_aggregates(event_type, versions, current))
        for age, version in enumerate(reversed(versions)):
            for change in compare_messages(version, current):
                if change.notable or age == 0:  # what an old schema lacks is no news
                    changes[change] = None
    for event_type in sorted(new.keys() - old.keys()):
        changes[
            SchemaChange(
                rule="EVENT_TYPE_ADDED",
                event_type=event_type,
                message="new event type",
                notable=False,
            )
        ] = None
    return _told_once(changes)


def _told_once(changes: Collection[SchemaChange]) -> list[SchemaChange]:
    """Without saying of a number that it was reserved where the field that had it is named."""
    reused = {(c.event_type, c.steps) for c in changes if c.rule == "FIELD_NUMBER_REUSED"}
    return [
        change
        for change in changes
        if change.rule != "RESERVED_NUMBER_USED" or (change.event_type, change.steps) not in reused
    ]


def _removed_type(
    event_type: str,
    versions: Sequence[Descriptor],
    old: Mapping[str, Sequence[Descriptor]],
    new: Mapping[str, Descriptor],
) -> SchemaChange:
    added = [name for name in sorted(new) if name not in old]
    name = event_type.rpartition(".")[2]
    moved = [other for other in added if other.rpartition(".")[2] == name]
    alike = [other for other in added if versions and _is_like(versions[-1], new[other])]
    back = f"declare {event_type} again, mark it deprecated, and upcast it"
    if moved:
        return SchemaChange(
            rule="PACKAGE_CHANGED",
            event_type=event_type,
            message=f"moved to {moved[0]}; stored events keep their type",
            fix=f"{back} to {moved[0]}; {EVOLVE}",
            backward=False,
            forward=False,
        )
    if alike:
        return SchemaChange(
            rule="EVENT_TYPE_RENAMED",
            event_type=event_type,
            message=f"renamed to {alike[0]}; stored events keep their type",
            fix=f"{back} to {alike[0]}; {EVOLVE}",
            backward=False,
            forward=False,
        )
    return SchemaChange(
        rule="EVENT_TYPE_REMOVED",
        event_type=event_type,
        message="removed",
        fix=f"{back} to what has taken its place; {EVOLVE}",
        backward=False,
    )


def _moved_between_aggregates(
    event_type: str, versions: Sequence[Descriptor], current: Descriptor
) -> Iterator[SchemaChange]:
    """Stored events are in the streams of the aggregate that they were declared for."""
    before, now = (_aggregate(versions[-1]) if versions else ""), _aggregate(current)
    if before and before != now:
        yield SchemaChange(
            rule="EVENT_AGGREGATE_CHANGED",
            event_type=event_type,
            message=f"event of {before} became event of {now}"
            if now
            else f"is no event of {before} any more",
            fix=f"leave it to {before}; to part from it, mark it deprecated and upcast it",
            backward=False,
            forward=False,
        )


def _aggregate(event: Descriptor) -> str:
    """The aggregate that an event is declared for; empty for a message that is not marked."""
    options = event_options(event)
    return options.aggregate_name if options is not None else ""


def _is_like(one: Descriptor, other: Descriptor) -> bool:
    """Whether two types have the same fields, and some."""
    return bool(one.fields) and _layout(one) == _layout(other)


def _layout(message: Descriptor) -> set[tuple[int, str, int]]:
    return {(field.number, field.name, field.type) for field in message.fields}
