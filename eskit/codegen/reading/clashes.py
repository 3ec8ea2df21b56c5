"""Names that are different in the protos but would be one in Python, or one on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from eskit.codegen.python import names
from eskit.codegen.python.sdk import sdk_groups
from eskit.codegen.reading.findings import Declarations, Findings
from eskit.codegen.reading.model import Aggregate, Schema, SdkGroup, Service, SourceFile
from eskit.errors import Diagnostic


def check_clashes(schema: Schema, findings: Findings, *, reserved_packages: Sequence[str]) -> None:
    """Report every name that two things would share."""
    for file in schema.files:
        _check_package(file, findings, reserved_packages)
        _check_module_names(file, findings)
    for group in sdk_groups(schema):
        _check_group(group, findings)


def _check_package(file: SourceFile, findings: Findings, reserved_packages: Sequence[str]) -> None:
    """Requests are sent to subjects that start with the package and the service."""
    subjects = [file.package, *(service.full_name for service in file.services)]
    found = [
        reserved
        for reserved in reserved_packages
        if any(f"{subject}.".startswith(f"{reserved}.") for subject in subjects)
    ]
    if file.has_code and found:
        findings.at_package(
            "RESERVED_PACKAGE",
            f"Package {file.package} starts with {found[0]!r}, where published events are",
            "Put another word in front: JetStream would answer the requests of its services.",
            file=file.name,
        )


def _check_module_names(file: SourceFile, findings: Findings) -> None:
    """Classes, constants and functions of one generated module."""
    taken: dict[str, str] = {"EVENTS": "the tuple EVENTS"}
    for aggregate in file.aggregates:
        taken[names.class_name(f"{aggregate.name}Aggregate")] = aggregate.state.full_name
        taken[names.class_name(f"{aggregate.name}Event")] = aggregate.state.full_name
    for service in file.services:
        for name in (service.constant, service.handler, service.client, service.register):
            first = taken.setdefault(name, service.full_name)
            if first != service.full_name:
                findings.at_service(
                    "NAME_CLASH",
                    f"{first} and {service.full_name} would both generate {name}",
                    "Rename one of them, or leave one out: name it in exclude in the settings.",
                    name=service.full_name,
                )
                break


def check_keywords(
    file: FileDescriptorProto, declarations: Declarations, findings: Findings
) -> None:
    """Names that are keywords get an underscore, which another name may have already."""
    found = _mended_twice(
        [
            *(message.name for message in file.message_type),
            *(enum.name for enum in file.enum_type),
            *(value.name for enum in file.enum_type for value in enum.value),
        ]
    )
    for name in found:
        message, hint = _keyword_clash(name, file.package or "no package")
        findings.at_package("PYTHON_KEYWORD", message, hint, file=file.name)
    for declared in declarations.messages_of(file):
        found = _mended_twice(
            [
                *(nested.name for nested in declared.proto.nested_type),
                *(enum.name for enum in declared.proto.enum_type),
            ],
            [
                *(field.name for field in declared.proto.field),
                *(value.name for enum in declared.proto.enum_type for value in enum.value),
            ],
        )
        for name in found:
            full_name = declared.ref.full_name
            message, hint = _keyword_clash(name, full_name)
            findings.at_message("PYTHON_KEYWORD", message, hint, name=full_name)


def check_json_names(declarations: Declarations, findings: Findings) -> None:
    """Of two in one message protoc only warns in proto2, but Python loads no such file."""
    for name, declared in declarations.messages.items():
        if declared.proto.options.deprecated_legacy_json_field_conflicts:
            continue
        taken: dict[str, str] = {}
        for field in declared.proto.field:
            first = taken.setdefault(field.json_name, field.name)
            if first != field.name:
                findings.at_field_name(
                    "JSON_NAME_CLASH",
                    f"{first} and {field.name} of {name} have one JSON name, {field.json_name}",
                    'Give one of them its own: [json_name = "…"]. If stored JSON must not '
                    "change: option deprecated_legacy_json_field_conflicts = true;",
                    name=name,
                    field=field.name,
                )


def _mended_twice(types: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    taken = {*types, *others}
    return [name for name in types if names.attribute(name) != name and f"{name}_" in taken]


def _keyword_clash(name: str, scope: str) -> tuple[str, str]:
    message = f"{name} of {scope} is a keyword in Python, and {name}_ is there already"
    return message, "Rename one of the two."


def module_clashes(protos: Iterable[str]) -> list[Diagnostic]:
    """Files that would be generated into one module; protoc refuses them without saying why."""
    found = []
    taken: dict[tuple[str, ...], str] = {}
    for proto in protos:
        parts = names.module_parts(proto)
        first = taken.setdefault(parts, proto)
        if first != proto:
            message = f"{first} and {proto} would both generate {'/'.join(parts)}_pb2.py"
            hint = "Rename one of the files."
        elif len(parts) > 1 and parts[0] == "sdk":
            message = f"The folder of {proto} would hide the generated module sdk.py"
            hint = "Rename the folder sdk."
        else:
            continue
        found.append(Diagnostic(code="NAME_CLASH", message=message, hint=hint, file=proto))
    return found


def _check_events(aggregate: Aggregate, findings: Findings) -> dict[str, str]:
    """By method name, the event that has it."""
    taken: dict[str, str] = {}
    for event in aggregate.events:
        full_name = event.message.full_name
        first = taken.setdefault(event.python_name, full_name)
        if first != full_name:
            findings.at_message(
                "NAME_CLASH",
                f"Events {first} and {full_name} would both be {event.python_name} of "
                f"{aggregate.name}",
                "Rename one of them, or mark the one that is not emitted any more as deprecated.",
                name=full_name,
            )
    return taken


def _check_rpcs(services: Iterable[Service], taken: dict[str, str], findings: Findings) -> None:
    """Rpcs of one aggregate are methods of one class, and of one client."""
    for service in services:
        for rpc in service.rpcs:
            full_name = f"{service.full_name}.{rpc.name}"
            first = taken.setdefault(rpc.python_name, full_name)
            if first != full_name:
                of = f" of {service.aggregate}" if service.aggregate else ""
                findings.at_rpc(
                    "NAME_CLASH",
                    f"{first} and {full_name} would both be {rpc.python_name}{of}",
                    "Rename one of them, or mark the old one as deprecated.",
                    service=service.full_name,
                    index=rpc.index,
                )


def _check_group(group: SdkGroup, findings: Findings) -> None:
    """One attribute of the SDK: one aggregate at most, and no two rpcs with one name."""
    events: dict[str, str] = {}
    for aggregate in group.aggregates:
        events |= _check_events(aggregate, findings)
    _check_rpcs(group.services, events, findings)
    for aggregate in group.aggregates[1:]:
        findings.at_message(
            "NAME_CLASH",
            f"Aggregates {group.aggregates[0].name} and {aggregate.name} would both be "
            f"{group.attribute} of the SDK",
            "Give one of them another type_name.",
            name=aggregate.state.full_name,
        )
