"""The user's project on disk: where it is, what its settings are, and its application object."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from eskit.domain.subjects import DEFAULT_NAMES, StreamNames, names_of
from eskit.errors import EskitError, ProjectError
from eskit.project.settings import Setting, load_settings, read_settings
from eskit.raised import error_line
from eskit.text.quantities import parse_duration, parse_number, parse_size

if TYPE_CHECKING:
    from eskit.app import App

OWN_POSTGRES = "eskit dev --postgres"
"""Where settings come from while the project's own PostgreSQL server runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """An eskit project: its folder and its settings.

    `file` is the file the settings were read from.
    """

    root: Path
    file: Path
    settings: Mapping[str, Setting]

    @property
    def app(self) -> str:
        """The application object as ``module:attribute``; empty when the project has none."""
        return self._text("app")

    @property
    def package(self) -> str:
        """The import package of the app, such as ``bank``; empty without an app."""
        return self.app.partition(":")[0].partition(".")[0]

    @property
    def package_path(self) -> Path:
        """The folder of the package; ProjectError without an app."""
        if not self.package:
            raise ProjectError(
                f"{self.file} names no app, so there is no package to put code in",
                hint='Set app = "package.app:app" first.',
            )
        return self._base() / self.package

    @property
    def gen_package(self) -> str:
        """The package that generated code is imported from; ProjectError if there is none."""
        base = self._base()
        if not self.gen_path.is_relative_to(base):
            raise ProjectError(
                f"{self.file}: gen is {self.gen_path}, which nothing can import",
                hint=f"Choose a folder below {base}.",
            )
        return ".".join(self.gen_path.relative_to(base).parts)

    @property
    def proto_paths(self) -> tuple[Path, ...]:
        """The folders that proto imports are relative to."""
        return tuple(self.root / folder for folder in self.settings["proto"].values)

    @property
    def exclude(self) -> tuple[str, ...]:
        """The protos, packages and services of others that nothing is generated for."""
        return self.settings["exclude"].values

    @property
    def accepted_changes(self) -> tuple[str, ...]:
        """Keys of findings of `eskit schema check` that you accept."""
        return self.settings["schema_accept"].values

    @property
    def gen_path(self) -> Path:
        """The folder that generated code goes to."""
        configured = self._text("gen")
        return self.root / configured if configured else self._base() / self.package / "gen"

    @property
    def store(self) -> str:
        """The URL of the event store; a SQLite path in it is absolute."""
        from eskit.sqlite.url import absolute_url, with_file_mode

        url = absolute_url(self._text("store"), self.root)
        return with_file_mode(url, self._text("file_mode"))

    @property
    def read_models(self) -> str:
        """The URL of the read models; a SQLite path in it is absolute."""
        from eskit.projections.opening import default_read_models_url
        from eskit.sqlite.url import absolute_url, with_file_mode

        configured = self._text("read_models")
        url = (
            absolute_url(configured, self.root)
            if configured
            else default_read_models_url(self.store)
        )
        return with_file_mode(url, self._text("file_mode"))

    @property
    def file_mode(self) -> int:
        """What files with events and rows are made with; existing ones keep their mode."""
        from eskit.files.modes import PRIVATE, parse_mode

        text = self._text("file_mode")
        return parse_mode(text) if text else PRIVATE

    @property
    def slow_after(self) -> float:
        """After how many seconds a handler that has not returned is reported."""
        return parse_duration(self._text("slow_after")).total_seconds()

    @property
    def nats(self) -> str:
        """``embedded``, or the URL of a NATS server."""
        return self._text("nats")

    @property
    def nats_stream(self) -> str:
        """The JetStream stream that the relay publishes to; by default `names_of` the package."""
        return self._text("nats_stream") or self._default_names().stream

    @property
    def nats_prefix(self) -> str:
        """What every event's subject begins with; by default `names_of` the package."""
        return self._text("nats_prefix") or self._default_names().prefix

    @property
    def nats_credentials(self) -> Path | None:
        """The file with the login for NATS, if one is set; who may read it is not checked."""
        return self._path("nats_credentials")

    @property
    def nats_ca(self) -> Path | None:
        """The authority that the NATS server's certificate is from, if one is set."""
        return self._path("nats_ca")

    @property
    def nats_cert(self) -> Path | None:
        """The certificate to show to the NATS server, if one is set."""
        return self._path("nats_cert")

    @property
    def nats_key(self) -> Path | None:
        """The key of that certificate, if one is set."""
        return self._path("nats_key")

    @property
    def nats_max_age(self) -> timedelta | None:
        """After how long JetStream may throw an event away; None leaves it to the server."""
        text = self._text("nats_max_age")
        return parse_duration(text) if text else None

    @property
    def nats_max_bytes(self) -> int | None:
        """Beyond how many bytes JetStream throws the oldest away; None leaves it to the server."""
        text = self._text("nats_max_bytes")
        return parse_size(text) if text else None

    @property
    def nats_replicas(self) -> int | None:
        """On how many servers of a cluster events are kept; None leaves it to the server."""
        text = self._text("nats_replicas")
        return parse_number(text) if text else None

    @property
    def nats_duplicate_window(self) -> timedelta | None:
        """For how long JetStream knows an event id again; None leaves it to the relay."""
        text = self._text("nats_duplicate_window")
        return parse_duration(text) if text else None

    @property
    def nats_server_port(self) -> int | None:
        """The port of the embedded server; None for a free one."""
        text = self._text("nats_server_port")
        return parse_number(text) if text else None

    @property
    def nats_server_cert(self) -> Path | None:
        """The certificate that the embedded server shows, if it is to speak TLS."""
        return self._path("nats_server_cert")

    @property
    def nats_server_key(self) -> Path | None:
        """The key of that certificate, if one is set."""
        return self._path("nats_server_key")

    @property
    def nats_server_ca(self) -> Path | None:
        """The authority whose certificates the embedded server demands from clients, if any."""
        return self._path("nats_server_ca")

    @property
    def nats_folder(self) -> Path:
        """Where the embedded NATS server keeps its streams, which are of one store."""
        return (self.postgres_folder if self.is_on_own_postgres else self.state_dir) / "nats"

    @property
    def postgres_folder(self) -> Path:
        """Where the project's own PostgreSQL server keeps all it has."""
        return self.state_dir / "postgres"

    @property
    def postgres_announcement(self) -> Path:
        """The file that says where that server is while it runs."""
        return self.state_dir / "postgres.json"

    @property
    def is_on_own_postgres(self) -> bool:
        """Whether the events are in that server."""
        return self.settings["store"].origin == OWN_POSTGRES

    def on_own_postgres(self, server: str) -> Project:
        """The same project with its events in the server at that URL.

        Its rows are there, too, if its projections are written for PostgreSQL.
        """
        from eskit.postgres.url import DEFAULT_SCHEMA, is_postgres
        from eskit.sqlite.url import sqlite_url

        schema = self.package or DEFAULT_SCHEMA
        file = sqlite_url(self.postgres_folder / "read_models.db")
        in_server = is_postgres(self._text("read_models") or self._text("store"))
        places = {
            "store": f"{server}?{urlencode({'schema': schema})}",
            "read_models": f"{server}?{urlencode({'schema': f'{schema}_read'})}"
            if in_server
            else file,
        }
        changed = {
            name: Setting(name=name, values=(url,), origin=OWN_POSTGRES)
            for name, url in places.items()
        }
        return replace(self, settings={**self.settings, **changed})

    @property
    def state_dir(self) -> Path:
        """Where eskit keeps what is of this machine only, such as locks; may not exist yet."""
        return self.root / ".eskit"

    def import_paths(self) -> list[Path]:
        """What has to come first on ``sys.path`` for the project's code to be importable."""
        return [self._base()]

    def _base(self) -> Path:
        """The folder that holds the package: ``src`` if it is there, else the root."""
        in_src = self.root / "src"
        return in_src if self.package and (in_src / self.package).is_dir() else self.root

    def _default_names(self) -> StreamNames:
        return names_of(self.package) if self.package else DEFAULT_NAMES

    def _path(self, name: str) -> Path | None:
        text = self._text(name)
        return self.root / text if text else None

    def _text(self, name: str) -> str:
        return self.settings[name].text


def load_project(
    start: Path,
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> Project:
    """The project that `start` is in: the nearest folder, upwards, that has settings.

    `overrides` are options by setting name; empty ones count as not given, in `environ` too.
    Raises PROJECT_NOT_FOUND, and ProjectError naming the file and the key.
    """
    file, table = load_settings(start)
    settings = read_settings(table, file=file, environ=environ, overrides=overrides)
    return Project(root=file.parent, file=file, settings=settings)


def load_app(project: Project) -> App:
    """Import the project's application object.

    The caller has put `Project.import_paths` on ``sys.path``. Raises ProjectError when there is
    none, its module does not import, or it is not an App.
    """
    from eskit.app import App

    module_name, _, attribute = project.app.partition(":")
    if not project.app:
        raise ProjectError(
            f"{project.file} names no app",
            hint='Set app = "package.app:app" to the App object of the project.',
        )
    if not attribute or not module_name:
        raise ProjectError(
            f"{project.file}: app = {project.app!r} is not of the form 'module:attribute'",
            hint='For example app = "bank.app:app".',
        )
    found = getattr(_import_module(project, module_name), attribute, None)
    if found is None:
        raise ProjectError(
            f"{module_name} has no attribute {attribute!r}, which {project.file.name} names",
            hint=f"Define {attribute} = App(…) there, or correct app in {project.file.name}.",
        )
    if not isinstance(found, App):
        raise ProjectError(
            f"{project.app} is of type {type(found).__name__}, not an eskit App",
            hint=f'Make it one: {attribute} = App("{project.package}", aggregates=[…])',
        )
    return found


def _import_module(project: Project, name: str) -> object:
    try:
        return importlib.import_module(name)
    except EskitError:
        raise
    except ImportError as error:
        raise ProjectError(
            f"Cannot import {name}: {error}", hint=_import_hint(project, error, error.name or name)
        ) from error
    except Exception as error:
        from eskit.schema.loading import explain

        if explained := explain(error):
            raise explained from error
        raise ProjectError(
            f"Cannot import {name}: {error_line(error)}",
            hint="Fix the error in the project's code; --debug shows the traceback.",
        ) from error


def _import_hint(project: Project, error: ImportError, failed: str) -> str:
    for folder in project.import_paths():
        if folder.joinpath(*failed.split(".")).is_relative_to(project.gen_path):
            return "Generate the code: eskit gen"
    if not isinstance(error, ModuleNotFoundError):  # the module is there, and lacks a name
        return "Correct the import; --debug shows where it is."
    if f"{project.app.partition(':')[0]}.".startswith(f"{failed}."):
        return f"Check app = {project.app!r} in {project.file}."
    return f"Install {failed.partition('.')[0]!r} into this environment, or correct the import."
