"""Two schemas of one event type side by side, field by field."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto

from eskit.schema.changes import EVOLVE, SchemaChange
from eskit.schema.wire import is_message, readable, type_name

_NEW_FIELD = f"keep field {{number}} as it is, add a new field, and upcast; {EVOLVE}"
_SEVERAL = 2


def compare_messages(old: Descriptor, new: Descriptor) -> list[SchemaChange]:
    """What differs between two schemas of one event type."""
    return list(_Comparison(old.full_name).messages(old, new, (), ()))


class _Comparison:
    """Walks two schemas of one event type side by side."""

    def __init__(self, event_type: str) -> None:
        self._event_type = event_type
        self._open: list[tuple[str, str]] = []

    def messages(
        self, old: Descriptor, new: Descriptor, path: tuple[str, ...], steps: tuple[int, ...]
    ) -> Iterator[SchemaChange]:
        """The changes of a message and of everything in it."""
        pair = old.full_name, new.full_name
        if pair in self._open:  # a message within itself was compared where it came first
            return
        self._open.append(pair)
        before, after, gone = _Fields(old), _Fields(new), Reserved(new)
        for field in before.by_number.values():
            yield from self._field(field, after, gone, path, steps)
        yield from self._added(before, after, Reserved(old), path, steps)
        yield from self._joined_oneofs(old, new, path, steps)
        yield from self._left_oneofs(old, new, path, steps)
        freed = Reserved(old).freed_in(gone, after.by_number, after.by_name)
        yield from self._freed(freed, path, steps)
        self._open.pop()

    def _field(
        self,
        old: Field,
        new: _Fields,
        reserved: Reserved,
        path: tuple[str, ...],
        steps: tuple[int, ...],
    ) -> Iterator[SchemaChange]:
        name = field_name(old)
        there = new.by_number.get(old.number)
        elsewhere = new.by_name.get(name)
        here, at = (*path, name), (*steps, old.number)
        if there is None:
            yield self._gone(old, elsewhere, reserved, here, at)
            return
        if field_name(there) != name:
            if elsewhere is not None or not _same_type(old, there):
                yield self._reused(old, there, here, at)
                return
            yield self._change(
                "FIELD_RENAMED",
                f"renamed to {field_name(there)}",
                here,
                at,
                fix="nothing for stored events; readers of JSON see the new name",
            )
        elif there.json_name != old.json_name:
            yield self._change(
                "FIELD_JSON_NAME_CHANGED",
                f"JSON name {old.json_name} became {there.json_name}",
                here,
                at,
                fix="nothing for stored events; readers of JSON see the new name",
            )
        yield from self._type(old, there, here, at)

    def _gone(
        self,
        old: Field,
        elsewhere: Field | None,
        reserved: Reserved,
        path: tuple[str, ...],
        steps: tuple[int, ...],
    ) -> SchemaChange:
        if elsewhere is not None:
            return self._change(
                "FIELD_NUMBER_CHANGED",
                f"number {old.number} became {elsewhere.number}",
                path,
                steps,
                fix=f"give {old.name} its number {old.number} back; {EVOLVE}",
                backward=False,
                forward=False,
            )
        if reserved.number(old.number):
            return self._change(
                "FIELD_REMOVED",
                "removed and reserved: what is stored in it is no longer read",
                path,
                steps,
                fix="keep the field, marked deprecated, while stored values matter",
                forward=not old.is_required,
            )
        return self._change(
            "FIELD_REMOVED",
            "removed" if old.is_extension else "removed without reserving its number",
            path,
            steps,
            fix=f"declare it again, marked deprecated; {EVOLVE}"
            if old.is_extension
            else f'reserved {old.number}; reserved "{old.name}"; or keep it, marked deprecated',
            backward=False,
            forward=not old.is_required,
        )

    def _reused(
        self, old: Field, new: Field, path: tuple[str, ...], steps: tuple[int, ...]
    ) -> SchemaChange:
        return self._change(
            "FIELD_NUMBER_REUSED",
            f"number {old.number} now means {new.name}, {_shown(new)}",
            path,
            steps,
            fix=f"give {new.name} a number never used, and reserve {old.number}; {EVOLVE}",
            backward=False,
            forward=False,
        )

    def _type(
        self, old: Field, new: Field, path: tuple[str, ...], steps: tuple[int, ...]
    ) -> Iterator[SchemaChange]:
        if new.is_required and not old.is_required:
            yield self._change(
                "FIELD_REQUIRED",
                "became required: events without it do not decode",
                path,
                steps[:-1],
                number=new.number,
                fix="keep it optional",
                backward=False,
            )
        elif old.is_required and not new.is_required:
            yield self._change(
                "FIELD_NO_LONGER_REQUIRED",
                "is no longer required: old code refuses events without it",
                path,
                steps,
                fix="deploy all readers before an event leaves it out",
                forward=False,
            )
        changed = self._changed_type(old, new, path, steps)
        if changed is not None:
            yield changed
        if (old.type, old.is_repeated) != (new.type, new.is_repeated):
            return
        if is_message(old.type) and old.message_type and new.message_type:
            if changed is None or changed.backward:
                yield from self.messages(old.message_type, new.message_type, path, steps)
            return
        if not old.is_repeated and repr(old.default_value) != repr(new.default_value):
            yield self._change(
                "FIELD_DEFAULT_CHANGED",
                f"default {_default(old)} became {_default(new)}: "
                "events that do not hold the field are read with the new one",
                path,
                steps,
                fix=f"keep the default {_default(old)}; {EVOLVE}",
                backward=False,
                forward=False,
                absent=True,
            )
        if old.enum_type is not None and new.enum_type is not None:
            yield from self._enum(old.enum_type, new.enum_type, path, steps)

    def _changed_type(
        self, old: Field, new: Field, path: tuple[str, ...], steps: tuple[int, ...]
    ) -> SchemaChange | None:
        """The change of a field's type, if it has changed."""
        backward, forward = readable(old.type, new.type)
        if old.is_repeated != new.is_repeated:
            backward, forward = backward and new.is_repeated, forward and old.is_repeated
        if old.enum_type is None and new.enum_type is not None and new.enum_type.is_closed:
            backward = False  # numbers that the enum does not name are lost
        if new.enum_type is None and old.enum_type is not None and old.enum_type.is_closed:
            forward = False
        if (old.type, old.is_repeated) == (new.type, new.is_repeated):
            if not is_message(old.type) or type_name(old) == type_name(new):
                return None
            if not _is_well_known(old) and not _is_well_known(new):
                return self._change(
                    "FIELD_TYPE_RENAMED",
                    f"{_shown(old)} became {_shown(new)}",
                    path,
                    steps,
                    fix=f"check that {type_name(new)} means the same",
                )
            backward = forward = False
        return self._change(
            "FIELD_TYPE_CHANGED",
            f"{_shown(old)} became {_shown(new)}",
            path,
            steps,
            fix=_NEW_FIELD.format(number=old.number),
            backward=backward,
            forward=forward,
        )

    def _added(
        self,
        old: _Fields,
        new: _Fields,
        reserved: Reserved,
        path: tuple[str, ...],
        steps: tuple[int, ...],
    ) -> Iterator[SchemaChange]:
        for field in new.by_number.values():
            if field.number in old.by_number:
                continue
            if field_name(field) in old.by_name:
                continue  # told where its old number is looked at
            here, at = (*path, field_name(field)), (*steps, field.number)
            if field.is_required:
                yield self._change(
                    "FIELD_REQUIRED",
                    "new and required: stored events do not have it",
                    here,
                    steps,
                    number=field.number,
                    fix="make it optional",
                    backward=False,
                )
            elif reserved.number(field.number):
                yield self._change(
                    "RESERVED_NUMBER_USED",
                    f"number {field.number} was reserved, because an older field had it",
                    here,
                    at,
                    fix=f"give {field.name} a number never used; {EVOLVE}",
                    backward=False,
                    forward=False,
                )
            else:
                yield self._change("FIELD_ADDED", "new field", here, at, notable=False)

    def _joined_oneofs(
        self, old: Descriptor, new: Descriptor, path: tuple[str, ...], steps: tuple[int, ...]
    ) -> Iterator[SchemaChange]:
        """Fields that could be set together and exclude each other now."""
        for oneof in new.oneofs:
            before = {field.number: _home(old, field) for field in oneof.fields}
            homes = {number: home for number, home in before.items() if home is not None}
            if not _parted(homes):
                continue
            for field in oneof.fields:
                if homes.get(field.number, oneof.name) != oneof.name:
                    yield self._change(
                        "FIELD_ONEOF_CHANGED",
                        f"moved into oneof {oneof.name}: of several that are set only one stays",
                        (*path, field.name),
                        (*steps, field.number),
                        fix=f"leave {field.name} outside of {oneof.name}",
                        backward=False,
                    )

    def _left_oneofs(
        self, old: Descriptor, new: Descriptor, path: tuple[str, ...], steps: tuple[int, ...]
    ) -> Iterator[SchemaChange]:
        """Fields that excluded each other and can be set together now."""
        for oneof in old.oneofs:
            after = {field.number: _home(new, field) for field in oneof.fields}
            homes = {number: home for number, home in after.items() if home is not None}
            if not _parted(homes):
                continue
            for field in oneof.fields:
                if homes.get(field.number, oneof.name) != oneof.name:
                    yield self._change(
                        "FIELD_ONEOF_CHANGED",
                        f"left oneof {oneof.name}: of several that are set old code reads only one",
                        (*path, field.name),
                        (*steps, field.number),
                        fix="deploy all readers before an event sets several",
                        forward=False,
                    )

    def _freed(
        self, freed: Sequence[str], path: tuple[str, ...], steps: tuple[int, ...]
    ) -> Iterator[SchemaChange]:
        """Numbers and names that were reserved and are neither reserved nor used now."""
        if freed:
            again = " ".join(f"reserved {text};" for text in freed)
            yield self._change(
                "RESERVED_REMOVED",
                f"no longer reserves {', '.join(freed)}",
                path,
                steps,
                fix=f"reserve it again: {again}",
            )

    def _enum(
        self,
        old: EnumDescriptor,
        new: EnumDescriptor,
        path: tuple[str, ...],
        steps: tuple[int, ...],
    ) -> Iterator[SchemaChange]:
        names: dict[int, set[str]] = {}
        for value in new.values:
            names.setdefault(value.number, set()).add(value.name)
        numbers = {value.name: value.number for value in new.values}
        reserved = Reserved(new)
        for value in old.values:
            there = names.get(value.number, set())
            if value.name in there:
                continue
            yield self._enum_value(
                value.name,
                value.number,
                becomes=", ".join(sorted(there)),
                elsewhere=numbers.get(value.name),
                is_reserved=reserved.number(value.number),
                path=path,
                steps=steps,
            )
        yield from self._freed(Reserved(old).freed_in(reserved, names, numbers), path, steps)
        if new.is_closed and not old.is_closed:
            yield self._change(
                "ENUM_CLOSED",
                "became closed: numbers that it does not name are no longer read",
                path,
                steps,
                fix="keep the enum open",
            )
        known = {value.number for value in old.values}
        for value in new.values:
            if value.number not in known:
                yield self._change(
                    "ENUM_VALUE_ADDED",
                    f"new value {value.name} = {value.number}",
                    path,
                    steps,
                    value=value.number,
                    forward=not old.is_closed,
                    notable=False,
                )

    def _enum_value(
        self,
        name: str,
        number: int,
        *,
        becomes: str,
        elsewhere: int | None,
        is_reserved: bool,
        path: tuple[str, ...],
        steps: tuple[int, ...],
    ) -> SchemaChange:
        if elsewhere is not None:
            rule, said = "ENUM_VALUE_NUMBER_CHANGED", f"{name} was {number} and is {elsewhere}"
            fix, readable_back = f"give {name} its number {number} back; {EVOLVE}", False
        elif becomes:
            rule, said = "ENUM_VALUE_RENAMED", f"value {number} {name} renamed to {becomes}"
            fix, readable_back = (
                f"check that {becomes} means the same; if not, add a value and keep {name}",
                True,
            )
        elif is_reserved:
            rule, said = "ENUM_VALUE_REMOVED", f"value {name} = {number} removed and reserved"
            fix, readable_back = "keep the value, marked deprecated, while events hold it", True
        else:
            rule, said = "ENUM_VALUE_REMOVED", f"value {name} = {number} removed"
            fix, readable_back = f'reserved {number}; reserved "{name}"; or keep it', False
        return self._change(
            rule,
            said,
            path,
            steps,
            value=number,
            fix=fix,
            backward=readable_back,
            forward=elsewhere is None,
        )

    def _change(
        self,
        rule: str,
        message: str,
        path: tuple[str, ...],
        steps: tuple[int, ...],
        *,
        number: int = 0,
        value: int | None = None,
        fix: str = "",
        backward: bool = True,
        forward: bool = True,
        notable: bool = True,
        absent: bool = False,
    ) -> SchemaChange:
        return SchemaChange(
            rule=rule,
            event_type=self._event_type,
            message=message,
            path=".".join(path),
            steps=steps,
            number=number or (steps[-1] if steps else 0),
            value=value,
            fix=fix,
            backward=backward,
            forward=forward,
            notable=notable,
            absent=absent,
        )


class _Fields:
    """The fields of a message and its extensions, by number and by name."""

    def __init__(self, message: Descriptor) -> None:
        found: list[Field] = list(message.fields)
        if message.is_extendable:
            found += sorted(
                message.file.pool.FindAllExtensions(message), key=lambda field: field.number
            )
        self.by_number = {field.number: field for field in found}
        self.by_name = {field_name(field): field for field in found}


class Reserved:
    """What a message or an enum says must not be used again."""

    def __init__(self, kind: Descriptor | EnumDescriptor) -> None:
        if isinstance(kind, Descriptor):
            message = DescriptorProto()
            kind.CopyToProto(message)
            # Message ranges end before their `end`, those of enums with it.
            self._ranges = [(span.start, span.end - 1) for span in message.reserved_range]
            self._names = set(message.reserved_name)
        else:
            enum = EnumDescriptorProto()
            kind.CopyToProto(enum)
            self._ranges = [(span.start, span.end) for span in enum.reserved_range]
            self._names = set(enum.reserved_name)

    def number(self, number: int) -> bool:
        """Whether the number is reserved."""
        return any(start <= number <= end for start, end in self._ranges)

    def freed_in(
        self, new: Reserved, numbers: Collection[int], names: Collection[str]
    ) -> list[str]:
        """What `new` neither reserves nor uses any more, as a proto writes it."""
        taken = [*new._ranges, *((number, number) for number in numbers)]
        freed = [part for span in self._ranges for part in _without(span, taken)]
        return [
            *(f"{start}" if start == end else f"{start} to {end}" for start, end in freed),
            *(f'"{name}"' for name in sorted(self._names - new._names - set(names))),
        ]


def _without(span: tuple[int, int], taken: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of a range of numbers that no other range has; all include both ends."""
    start, last = span
    for low, high in sorted(taken):
        if high < start or low > last:
            continue
        if low > start:
            yield start, low - 1
        start = max(start, high + 1)
    if start <= last:
        yield start, last


def field_name(field: Field) -> str:
    """The name of a field; an extension's is its full name, in brackets."""
    return f"[{field.full_name}]" if field.is_extension else str(field.name)


def _is_well_known(field: Field) -> bool:
    kind = field.message_type
    return kind is not None and kind.file.package == "google.protobuf"


def _default(field: Field) -> str:
    enum = field.enum_type
    if enum is not None:
        return str(enum.values_by_number[field.default_value].name)
    return json.dumps(field.default_value, default=repr)


def _same_type(old: Field, new: Field) -> bool:
    if (old.type, old.is_repeated) != (new.type, new.is_repeated):
        return False
    return type_name(old) == type_name(new)


def _shown(field: Field) -> str:
    return f"repeated {type_name(field)}" if field.is_repeated else type_name(field)


def _parted(homes: Mapping[int, str]) -> bool:
    """Whether several fields are not all in one oneof; empty is none."""
    return len(homes) >= _SEVERAL and (len(set(homes.values())) > 1 or "" in homes.values())


def _home(old: Descriptor, field: Field) -> str | None:
    """The oneof that a field was in, empty for none; None for a field that was not there."""
    before = old.fields_by_number.get(field.number)
    if before is None or before.name != field.name:
        return None
    oneof = before.containing_oneof
    # A proto3 `optional` field is in a oneof of its own, which no proto shows.
    return "" if oneof is None or oneof.name == f"_{field.name}" else str(oneof.name)
