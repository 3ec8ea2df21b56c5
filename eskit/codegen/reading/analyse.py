"""From parsed protos to what is generated: aggregates, their events, their services."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from eskit.codegen.python import names
from eskit.codegen.reading.clashes import check_clashes, check_json_names, check_keywords
from eskit.codegen.reading.exclusion import Exclusion
from eskit.codegen.reading.findings import Declarations, DeclaredMessage, DeclaredService, Findings
from eskit.codegen.reading.locate import Locators
from eskit.codegen.reading.model import (
    Aggregate,
    Event,
    MessageRef,
    Rpc,
    Schema,
    Service,
    SourceFile,
)
from eskit.domain.streams import check_aggregate_type
from eskit.errors import Diagnostic, InvalidArgument
from eskit.schema import options, options_pb2
from eskit.text.suggestions import find_nearest

_ROOT = options_pb2.aggregate_root.number
_EVENT = options_pb2.event.number
_SERVICE = options_pb2.service.number
_METHODS = 2


def analyse(
    files: FileDescriptorSet,
    project: Sequence[str],
    *,
    locators: Locators,
    reserved_packages: Sequence[str],
    exclusion: Exclusion,
) -> tuple[Schema, list[Diagnostic]]:
    """The schema of the `project` files among `files`, and all findings, sorted by place.

    Where there are errors among them the schema is incomplete and must not be used. Of what the
    exclusion has, only messages are looked at.
    """
    declarations = Declarations(files, set(project), locators)
    findings = Findings(declarations)
    schema = _Analysis(declarations, findings, exclusion).run()
    check_clashes(schema, findings, reserved_packages=reserved_packages)
    return schema, findings.sorted()


@dataclass(slots=True)
class _Root:
    """An aggregate while its events and services are being found."""

    name: str
    id_field: str
    declared: DeclaredMessage
    events: list[Event] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)

    @property
    def state(self) -> str:
        return self.declared.ref.full_name


class _Analysis:
    def __init__(
        self, declarations: Declarations, findings: Findings, exclusion: Exclusion
    ) -> None:
        self._declarations = declarations
        self._findings = findings
        self._exclusion = exclusion
        self._roots: dict[str, _Root] = {}

    def run(self) -> Schema:
        """Aggregates first: events and services refer to them."""
        files = self._declarations.files
        check_json_names(self._declarations, self._findings)
        for file in files:
            check_keywords(file, self._declarations, self._findings)
            if not self._is_left_out(file):
                self._find_aggregates(file)
        events = {file.name: self._find_events(file) for file in files}
        services = self._find_services()
        aggregates = [self._aggregate(root) for root in self._roots.values()]
        return Schema(
            files=tuple(
                SourceFile(
                    name=file.name,
                    package=file.package,
                    aggregates=tuple(a for a in aggregates if a.state.file == file.name),
                    events=events[file.name],
                    services=services[file.name],
                )
                for file in files
            )
        )

    def _is_left_out(self, file: FileDescriptorProto) -> bool:
        return self._exclusion.has_file(file.name, file.package)

    def _aggregate(self, root: _Root) -> Aggregate:
        """Events of the state's own file come first, then those of other files by name."""
        ref = root.declared.ref
        return Aggregate(
            name=root.name,
            package=self._declarations.package(ref.file),
            state=ref,
            id_field=root.id_field,
            events=tuple(
                sorted(_named(root.events), key=lambda event: event.message.file != ref.file)
            ),
            services=tuple(sorted(root.services, key=lambda service: service.file != ref.file)),
            doc=self._declarations.comment(ref.file, root.declared.place),
        )

    # Aggregates

    def _find_aggregates(self, file: FileDescriptorProto) -> None:
        for declared in self._declarations.messages_of(file):
            root = options.aggregate_options(declared.proto)
            if root is None:
                continue
            name = root.type_name or declared.proto.name
            if self._name_is_free(declared, root.type_name, name):
                self._roots[name] = _Root(name, root.id_field, declared)
                self._check_id_field(declared, root.id_field)

    def _name_is_free(self, declared: DeclaredMessage, type_name: str, name: str) -> bool:
        ref = declared.ref
        option, text = (_ROOT, f'"{type_name}"') if type_name else (0, "")
        try:
            check_aggregate_type(name)
        except InvalidArgument as error:
            self._findings.at_message(
                "AGGREGATE_NAME",
                f"{ref.full_name}: {error.message}",
                error.hint,
                name=ref.full_name,
                option=option,
                text=text,
            )
            return False
        taken = self._roots.get(name)
        if taken is None:
            return True
        self._findings.at_message(
            "DUPLICATE_AGGREGATE",
            f"{taken.state} and {ref.full_name} are both aggregates called {name!r}",
            "Give one of them another type_name: it is the first part of every stream's name. Of "
            "two versions of one state, only the current one has the option.",
            name=ref.full_name,
            option=option,
            text=text,
        )
        return False

    def _check_id_field(self, declared: DeclaredMessage, id_field: str) -> None:
        state = declared.ref.full_name
        fields = {field.name: field for field in declared.proto.field}
        texts = [name for name, field in fields.items() if _is_text(field)]
        if not id_field:
            likely = next((name for name in texts if name.endswith("id")), "account_id")
            self._findings.at_message(
                "ID_FIELD_MISSING",
                f"Aggregate {state} has no id_field",
                f'Add to its option: id_field: "{likely}". It names the string field that holds '
                "the id, in the state and in commands.",
                name=state,
                option=_ROOT,
            )
        elif id_field not in fields:
            near = find_nearest(id_field, texts)
            has = f"Its string fields: {', '.join(texts)}." if texts else "Add a string field."
            self._findings.at_message(
                "ID_FIELD_UNKNOWN",
                f"{state} has no field {id_field!r}",
                f"Did you mean {near}?" if near else has,
                name=state,
                option=_ROOT,
                text=f'"{id_field}"',
            )
        elif not _is_text(fields[id_field]):
            self._findings.at_field(
                "ID_FIELD_NOT_A_STRING",
                f"{state}.{id_field} is the id of an aggregate, but not a single string",
                f"Declare it as: string {id_field} = {fields[id_field].number};",
                name=state,
                field=id_field,
            )

    # Events

    def _find_events(self, file: FileDescriptorProto) -> tuple[MessageRef, ...]:
        found: list[MessageRef] = []
        if self._is_left_out(file):
            return ()
        for declared in self._declarations.messages_of(file):
            event = options.event_options(declared.proto)
            if event is None:
                continue
            found.append(declared.ref)
            root = self._roots.get(event.aggregate_name)
            if root is None:
                self._event_of_unknown_aggregate(declared.ref, event.aggregate_name)
                continue
            root.events.append(
                Event(
                    message=declared.ref,
                    python_name=names.event_method_name(declared.proto.name),
                    deprecated=declared.proto.options.deprecated,
                    doc=self._declarations.comment(file.name, declared.place),
                )
            )
        return tuple(found)

    def _event_of_unknown_aggregate(self, ref: MessageRef, aggregate: str) -> None:
        what = f"is of an unknown aggregate {aggregate!r}" if aggregate else "names no aggregate"
        self._findings.at_message(
            "UNKNOWN_AGGREGATE",
            f"Event {ref.full_name} {what}",
            self._nearest_aggregate(aggregate),
            name=ref.full_name,
            option=_EVENT,
            text=f'"{aggregate}"' if aggregate else "",
        )

    def _nearest_aggregate(self, name: str) -> str:
        for root in self._roots.values():
            if root.declared.proto.name == name:
                return f"The type_name of {root.state} is {root.name}."
        near = find_nearest(name, self._roots)
        if near:
            return f"Did you mean {near}?"
        if self._roots:
            return f"Aggregates: {', '.join(sorted(self._roots))}."
        return "Mark the state message with (eventsourcing.aggregate_root)."

    # Services

    def _find_services(self) -> dict[str, tuple[Service, ...]]:
        """By file; what the services of an aggregate are called depends on all of them."""
        bound = [
            (declared, root)
            for file in self._declarations.files
            for declared in self._declarations.services_of(file)
            if self._is_wanted(file, declared)
            for root in [self._root_of(declared)]
            if not self._streams(declared, root)
        ]
        for declared, root in bound:
            if root is not None:
                root.methods.update(names.method_name(rpc.name) for rpc in declared.proto.method)
        found: dict[str, list[Service]] = {file.name: [] for file in self._declarations.files}
        for declared, root in bound:
            service = self._service(declared, root)
            found[declared.file].append(service)
            if root is not None:
                root.services.append(service)
                self._check_command_ids(service, root)
        return {file: tuple(services) for file, services in found.items()}

    def _is_wanted(self, file: FileDescriptorProto, declared: DeclaredService) -> bool:
        if not declared.proto.method or self._is_left_out(file):
            return False
        return not self._exclusion.has_service(declared.full_name)

    def _streams(self, declared: DeclaredService, root: _Root | None) -> bool:
        """Whether a service has rpcs that stream: an error for one of an aggregate.

        Any other may be there only because third-party protos have it.
        """
        streaming = [
            index
            for index, method in enumerate(declared.proto.method)
            if method.client_streaming or method.server_streaming
        ]
        if streaming and root is None:
            self._findings.at_rpc(
                "SERVICE_SKIPPED",
                f"{declared.full_name} streams: no handler and no client is generated for it",
                "Its messages are there. To skip it silently, name it in exclude in the settings.",
                service=declared.full_name,
                index=streaming[0],
                text="stream",
                severity="warning",
            )
            return True
        for index in streaming:
            rpc = declared.proto.method[index].name
            self._findings.at_rpc(
                "STREAMING_RPC",
                f"{declared.full_name}.{rpc} streams, but a command or query is one "
                "request with one response",
                "Remove the word stream: page through long answers, follow events with a "
                "projection.",
                service=declared.full_name,
                index=index,
                text="stream",
            )
        return False

    def _root_of(self, declared: DeclaredService) -> _Root | None:
        """The aggregate that a service is bound to: by its option, else by its name."""
        bound = options.service_options(declared.proto)
        if bound is None or not (bound.aggregate_name or bound.aggregate_root_message):
            name = declared.proto.name.removesuffix("Service")
            return self._roots.get(name.removesuffix("Command").removesuffix("Query"))
        by_name = self._roots.get(bound.aggregate_name)
        state = bound.aggregate_root_message.removeprefix(".")
        # A name without package is one of the service's own package.
        full_names = {state, f"{declared.full_name.rpartition('.')[0]}.{state}"}
        by_state = next((r for r in self._roots.values() if r.state in full_names), None)
        if bound.aggregate_name and by_name is None:
            self._service_is_misbound(
                declared,
                bound.aggregate_name,
                f"is bound to an unknown aggregate {bound.aggregate_name!r}",
                self._nearest_aggregate(bound.aggregate_name),
            )
        elif state and by_state is None:
            near = find_nearest(state, [r.state for r in self._roots.values()])
            self._service_is_misbound(
                declared,
                bound.aggregate_root_message,
                f"is bound to {state}, which is no aggregate",
                f"Did you mean {near}?"
                if near
                else "Name a message that has the option (eventsourcing.aggregate_root).",
            )
        elif by_name and by_state and by_name is not by_state:
            self._service_is_misbound(
                declared,
                bound.aggregate_root_message,
                f"is bound to two aggregates, {by_name.name} and {by_state.name}",
                f"The state of {by_name.name} is {by_name.state}.",
            )
        return by_name or by_state

    def _service_is_misbound(
        self, declared: DeclaredService, text: str, what: str, hint: str
    ) -> None:
        self._findings.at_service(
            "UNKNOWN_AGGREGATE",
            f"Service {declared.full_name} {what}",
            hint,
            name=declared.full_name,
            option=_SERVICE,
            text=f'"{text}"',
        )

    def _service(self, declared: DeclaredService, root: _Root | None) -> Service:
        name = declared.proto.name
        base = name.removesuffix("Service") or name
        return Service(
            name=name,
            full_name=declared.full_name,
            file=declared.file,
            kind=options.service_kind(declared.proto),
            aggregate=root.name if root else "",
            package=self._declarations.package(declared.file),
            deprecated=declared.proto.options.deprecated,
            constant=names.constant_name(name),
            handler=names.class_name(f"{base}Handler"),
            client=names.class_name(f"{base}Client"),
            register=f"register_{names.snake_case(name)}",
            rpcs=tuple(self._rpcs(declared, root)),
            doc=self._declarations.comment(declared.file, declared.place),
        )

    def _rpcs(self, declared: DeclaredService, root: _Root | None) -> list[Rpc]:
        return [
            Rpc(
                name=method.name,
                python_name=self._method_name(declared, method, root),
                index=index,
                request=self._declarations.messages[method.input_type.removeprefix(".")].ref,
                response=self._declarations.messages[method.output_type.removeprefix(".")].ref,
                doc=self._declarations.comment(declared.file, (*declared.place, _METHODS, index)),
            )
            for index, method in enumerate(declared.proto.method)
        ]

    def _method_name(
        self, declared: DeclaredService, method: MethodDescriptorProto, root: _Root | None
    ) -> str:
        """Of several rpcs of an aggregate with one name, deprecated ones carry their package."""
        name = names.method_name(method.name)
        deprecated = declared.proto.options.deprecated or method.options.deprecated
        if root is None or not deprecated or root.methods[name] == 1:
            return name
        return names.qualified(self._declarations.package(declared.file), name)

    def _check_command_ids(self, service: Service, root: _Root) -> None:
        """A command may lack the id field (it creates), but not have it as something else."""
        for rpc in service.rpcs if service.kind == "command" else ():
            request = self._declarations.messages[rpc.request.full_name]
            for declared in request.proto.field:
                if declared.name != root.id_field or _is_text(declared):
                    continue
                message = (
                    f"{rpc.request.full_name}.{declared.name} is the id of {root.name}, but not a "
                    "single string"
                )
                hint = f"Declare it as: string {declared.name} = {declared.number};"
                if self._declarations.is_ours(rpc.request.full_name):
                    self._findings.at_field(
                        "ID_FIELD_NOT_A_STRING",
                        message,
                        hint,
                        name=rpc.request.full_name,
                        field=declared.name,
                    )
                else:
                    self._findings.at_rpc(
                        "ID_FIELD_NOT_A_STRING",
                        message,
                        "Use a request message of your own.",
                        service=service.full_name,
                        index=rpc.index,
                    )


def _named(events: Sequence[Event]) -> list[Event]:
    """Of several events with one name, deprecated ones are called by their full name.

    So an old event can stay beside the one that has taken its place.
    """
    shared = Counter(event.python_name for event in events)
    return [
        replace(event, python_name=names.qualified_event_method(event.message.full_name))
        if event.deprecated and shared[event.python_name] > 1
        else event
        for event in events
    ]


def _is_text(declared: FieldDescriptorProto) -> bool:
    return (
        declared.type == FieldDescriptorProto.TYPE_STRING
        and declared.label != FieldDescriptorProto.LABEL_REPEATED
    )
