"""What changes for those who call a service: its methods, their requests and their responses.

A request is read by new code as old callers wrote it, a response by old callers as new code wrote
it. So what `forward` means for an event is `backward` for a response.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eskit.schema.changes import SchemaChange
from eskit.schema.comparison import compare_messages
from eskit.schema.pools import find_file
from eskit.schema.recorded import schema_pool


def compare_services(old: FileDescriptorSet, new: FileDescriptorSet) -> list[SchemaChange]:
    """What became of each method of `old`, and of the messages it takes and gives."""
    before, after = _methods(old), _methods(new)
    changes: list[SchemaChange] = []
    for path, method in sorted(before.items()):
        there = after.get(path)
        if there is None:
            changes.append(
                SchemaChange(
                    rule="METHOD_REMOVED",
                    event_type=path,
                    message="removed: its callers get NOT_FOUND",
                    fix="keep the method while clients call it",
                    backward=False,
                    used_by=path,
                )
            )
            continue
        changes += _compare(path, method, there)
    return list(dict.fromkeys(changes))


def _compare(path: str, old: MethodDescriptor, new: MethodDescriptor) -> Iterator[SchemaChange]:
    pairs = (
        ("request", old.input_type, new.input_type),
        ("response", old.output_type, new.output_type),
    )
    for role, before, after in pairs:
        if before.full_name != after.full_name:
            yield SchemaChange(
                rule=f"METHOD_{role.upper()}_CHANGED",
                event_type=path,
                message=f"its {role} {before.full_name} became {after.full_name}",
                fix="check that both messages have the same fields",
                used_by=path,
            )
        for change in _of_callers(role, before, after):
            if change.notable:
                yield replace(change, used_by=f"{role} of {path}")


def _of_callers(role: str, old: Descriptor, new: Descriptor) -> Iterator[SchemaChange]:
    for change in compare_messages(old, new):
        if role == "request":
            yield change
        else:
            yield replace(change, backward=change.forward, forward=change.backward)


def _methods(files: FileDescriptorSet) -> dict[str, MethodDescriptor]:
    """The methods of all services, as ``package.Service/Method``."""
    pool = schema_pool(files)
    return {
        f"{service.full_name}/{method.name}": method
        for file in files.file
        for service in find_file(pool, file.name).services_by_name.values()
        for method in service.methods
    }
