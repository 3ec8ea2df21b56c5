"""The methods that can be called, where their types are known from, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eskit.cli.session import Session
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.values import leaves
from eskit.cqrs.services import resolve_method
from eskit.domain.services import Method, ServiceType
from eskit.errors import (
    InvalidArgument,
    MissingPackage,
    ProjectError,
    SchemaInvalid,
    StoreUnavailable,
)
from eskit.reports.schema import options_of
from eskit.schema.declared import declared_methods, recorded_methods
from eskit.schema.fields import NO_COMMENTS, FieldInfo, describe_fields, option_value
from eskit.schema.pools import descriptor_of
from eskit.schema.recorded import read_descriptor_set

if TYPE_CHECKING:
    from eskit.cqrs.options import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """Methods by full name, and where they are from; only those `of_app` run in this process."""

    by_name: Mapping[str, Method]
    origin: str
    of_app: bool = False
    unanswered: Sequence[ServiceType] = ()

    def resolve(self, text: str) -> Method:
        """The method called `text`; NotFound with the nearest name for an unknown one."""
        return resolve_method(self.by_name, text, unanswered=self.unanswered)


def methods_of_app(session: Session) -> Methods:
    """What the project's app answers; ProjectError if it has none or does not import."""
    app = session.load_app()
    return Methods(
        by_name=app.methods,
        origin=f"the app {session.project.app}",
        of_app=True,
        unanswered=app.unanswered,
    )


def methods_at_hand(session: Session) -> Methods:
    """Those of the app, or of the schemas where there is no app that can be used."""
    if not session.names_app():
        return methods_of_schemas(session)
    try:
        return methods_of_app(session)
    except ProjectError as error:
        if session.debug:
            session.output.note(f"methods  not from the app: {error.message}")
        return methods_of_schemas(session)


def methods_of_schemas(session: Session) -> Methods:
    """What the protos of the project declare, else what the store has recorded.

    Raises PROJECT_NOT_FOUND, or InvalidArgument where neither is there.
    """
    found = _declared(session) or _recorded(session)
    if found is None:
        session.project  # noqa: B018  # outside of a project say that first
        raise InvalidArgument(
            "Nothing here says which methods there are: no app, no protos, no recorded service",
            hint="Name a descriptor set: --descriptors FILE, or a store that recorded the events.",
        )
    return found


def methods_of_file(path: Path) -> Methods:
    """What a descriptor set declares; InvalidArgument for what is none."""
    return Methods(
        by_name=declared_methods(read_descriptor_set(path)), origin=f"the descriptor set {path}"
    )


def proto_comments(session: Session) -> Mapping[str, str]:
    """The comments in the project's protos, by full name; none where they cannot be read."""
    from eskit.codegen.reading.sources import compiler_folder

    project = session.find_project()
    if project is None:
        return {}
    try:
        compiler_folder()
        from eskit.codegen.reading.comments import comments_of
        from eskit.codegen.reading.protoc import parse_protos

        return comments_of(parse_protos(project.proto_paths, exclude=project.exclude).files)
    except (MissingPackage, ProjectError, SchemaInvalid):
        return {}


def _declared(session: Session) -> Methods | None:
    from eskit.codegen.reading.protoc import parse_protos

    project = session.find_project()
    if project is None:
        return None
    try:
        files = parse_protos(project.proto_paths, exclude=project.exclude).files
    except ProjectError:
        return None  # there are none
    methods = declared_methods(files)
    return Methods(by_name=methods, origin="the protos of the project") if methods else None


def _recorded(session: Session) -> Methods | None:
    if session.find_project() is None and not session.names_store():
        return None
    try:
        with session.open_store() as store:
            methods = recorded_methods(store.load_schemas())
    except StoreUnavailable:
        return None  # it has not been created yet
    return Methods(by_name=methods, origin=f"the schemas in {store.url}") if methods else None


def format_methods(methods: Iterable[Method]) -> Iterator[Line]:
    """A method with the fields of its request below it."""
    for method in methods:
        yield [(f"{method.kind:7}  ", "dim"), method.path]
        fields = describe_fields(descriptor_of(method.request))
        listed = ", ".join(f"{field.name} {field.type}" for field in fields)
        yield [(f"         {listed or 'no fields'}", "dim")]


def format_method(method: Method, comments: Mapping[str, str] = NO_COMMENTS) -> Iterator[Line]:
    """One method with everything that its protos say of it and of its request and response."""
    yield [(f"{method.kind:7}  ", "dim"), (method.path, "name")]
    if doc := comments.get(method.full_name):
        yield ["         ", doc]
    for name, value in options_of(method).items():
        yield ["         ", (f"({name}) = {option_value(value)}", "dim")]
    for role, kind in (("request", method.request), ("response", method.response)):
        descriptor = descriptor_of(kind)
        yield [(f"{role:8} ", "dim"), descriptor.full_name]
        rows = list(_rows(describe_fields(descriptor, comments), "  "))
        yield from columns(rows or [(("         ", ""), ("no fields", "dim"))], wrapped=True)


def _rows(fields: Sequence[FieldInfo], indent: str) -> Iterator[tuple[Span, ...]]:
    """Name, type and what else there is to say; fields of messages below their own."""
    for field in fields:
        yield ((f"       {indent}{field.name}", "key"), (field.type, ""), (field.said, "dim"))
        yield from _rows(field.fields, f"{indent}  ")


def format_response(reply: Reply, answer: Mapping[str, Any]) -> Iterator[Line]:
    """The response's fields, one a line."""
    fields = list(leaves(answer, descriptor_of(type(reply.message)), unset=True))
    longest = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield [(name.ljust(longest), "key"), "  ", value]
    if not fields:
        yield "Nothing in the response"
    if reply.already_processed:
        yield [("This command was carried out before; this is its first response.", "dim")]
