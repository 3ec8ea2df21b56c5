"""The methods that can be called, and where their types are known from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eskit.cli.session import Session
from eskit.cqrs.methods import find_method
from eskit.domain.services import Method, ServiceType
from eskit.errors import (
    InvalidArgument,
    MissingPackage,
    ProjectInvalid,
    SchemaInvalid,
    StoreUnavailable,
)
from eskit.schema.methods import declared_methods, recorded_methods
from eskit.schema.recorded import read_descriptor_set


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """Methods by full name, and where they are from; only those `of_app` run in this process."""

    by_name: Mapping[str, Method]
    origin: str
    of_app: bool = False
    unanswered: Sequence[ServiceType] = ()

    def find(self, text: str) -> Method:
        """The method that somebody typed; InvalidArgument with the nearest for an unknown one."""
        return find_method(self.by_name, text, unanswered=self.unanswered)


def methods_of_app(session: Session) -> Methods:
    """What the project's app answers; ProjectInvalid if it has none or does not import."""
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
    except ProjectInvalid as error:
        if session.debug:
            session.output.note(f"methods  not from the app: {error.message}")
        return methods_of_schemas(session)


def methods_of_schemas(session: Session) -> Methods:
    """What the protos of the project declare, else what the store has recorded.

    Raises ProjectNotFound, or InvalidArgument where neither is there.
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
    from eskit.codegen.reading.includes import compiler_folder

    project = session.find_project()
    if project is None:
        return {}
    try:
        compiler_folder()
        from eskit.codegen.reading.comments import comments_of
        from eskit.codegen.reading.parsing import parse_protos

        return comments_of(parse_protos(project.proto_paths, exclude=project.exclude).files)
    except (MissingPackage, ProjectInvalid, SchemaInvalid):
        return {}


def _declared(session: Session) -> Methods | None:
    from eskit.codegen.reading.parsing import parse_protos

    project = session.find_project()
    if project is None:
        return None
    try:
        files = parse_protos(project.proto_paths, exclude=project.exclude).files
    except ProjectInvalid:
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
