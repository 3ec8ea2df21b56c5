"""What every command works with: the options all commands share, and what they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from eskit.cli.terminal.output import Output
from eskit.errors import BrokerUnavailable, EskitError, ProjectError, StoreUnavailable

if TYPE_CHECKING:
    from eskit.app import App, RunningApp
    from eskit.domain.subjects import StreamNames
    from eskit.messaging.stream_settings import StreamSettings
    from eskit.messaging.takeover import FormerPlace
    from eskit.nats.connection import Connection
    from eskit.nats.credentials import Provider
    from eskit.nats.login import Tls
    from eskit.project.layout import Project
    from eskit.store.eventstore import EventStore

Result = TypeVar("Result")
EMBEDDED = "embedded"
_READINGS = {"gen": "gen_path", "schema_accept": "accepted_changes"}
"""What a project calls the settings that it does not call by their name."""


@dataclass(kw_only=True)
class Session:
    """One run of the command line: its shared options and its output."""

    directory: Path
    store_option: str = ""
    nats_option: str = ""
    debug: bool = False
    output: Output

    def __post_init__(self) -> None:
        """A folder that is not there is said to be so; its parents' project is not meant."""
        if not self.directory.is_dir():
            raise ProjectError(
                f"There is no folder {self.directory}",
                code="PROJECT_NOT_FOUND",
                hint="-C DIR names the project's folder.",
            )

    @cached_property
    def project(self) -> Project:
        """The project of the folder; PROJECT_NOT_FOUND outside of one.

        While `eskit dev --postgres` runs its events are there, unless another store is named.
        """
        from eskit.project.layout import load_project

        project = load_project(
            self.directory,
            environ=os.environ,
            overrides={"store": self._absolute_store(), "nats": self.nats_option},
        )
        if not self.names_store() and (server := _own_postgres(project)):
            project = project.on_own_postgres(server)
        if self.debug:
            self._show_settings(project)
        for path in reversed(project.import_paths()):
            if str(path) not in sys.path:
                sys.path.insert(0, str(path))
        return project

    def find_project(self) -> Project | None:
        """The project of the folder, if it is in one."""
        try:
            return self.project
        except ProjectError as error:
            if error.code != "PROJECT_NOT_FOUND":
                raise
            return None

    @property
    def store_url(self) -> str:
        """The URL of the store; one from an option or the environment needs no project."""
        project = self.find_project()
        url = project.store if project else self._absolute_store() or os.environ.get("ESKIT_STORE")
        return url or self.project.store

    @property
    def file_mode(self) -> int:
        """What files with events are made with; for their owner alone outside of a project."""
        from eskit.files.modes import PRIVATE

        project = self.find_project()
        return project.file_mode if project else PRIVATE

    def path(self, typed: Path) -> Path:
        """A path in an option: relative to the chosen folder."""
        return self.directory / typed

    def names_app(self) -> bool:
        """Whether the project says which object its app is."""
        project = self.find_project()
        return project is not None and bool(project.app)

    def names_store(self) -> bool:
        """Whether an option or the environment says which store is meant."""
        return bool(self.store_option or os.environ.get("ESKIT_STORE"))

    def store_exists(self) -> bool:
        """Whether there is a store to open without creating one."""
        from eskit.store.open import locate

        return locate(self.store_url).exists()

    def open_store(self, *, create: bool = False) -> EventStore:
        """The project's event store; a command that only reads never creates one."""
        from eskit.store.open import open_store

        return open_store(self.store_url, create=create)

    def nats_url(self) -> str:
        """Where NATS is: the URL that is set, or the embedded server of the project.

        Raises BrokerUnavailable when the project's server is not running.
        """
        url = self.find_nats()
        if url is None:
            self.project  # noqa: B018  # outside of a project say that first
            raise BrokerUnavailable(
                "No NATS server of this project is running",
                hint="Start one in another terminal: eskit serve, or eskit nats start",
            )
        return url

    def find_nats(self) -> str | None:
        """The URL of a NATS server that is set or running, if there is one."""
        project = self.find_project()
        if project is None:
            return self.nats_option or os.environ.get("ESKIT_NATS")
        if project.nats != EMBEDDED:
            return project.nats
        from eskit.nats.server import find_announced

        return find_announced(project.root)

    def has_used_nats(self) -> bool:
        """Whether there may be something in NATS: not if its embedded server has never run."""
        project = self.project
        return project.nats != EMBEDDED or project.nats_folder.exists()

    def nats_login(self) -> tuple[Provider | None, Tls | None]:
        """Who to be for NATS, and how to trust it.

        The login is what ESKIT_NATS_TOKEN, _USER and _PASSWORD, _NKEY_SEED or _CREDS say, else
        the file that is set, else what stands in the URL. For the embedded server it is what that
        has announced.
        """
        from eskit.nats.credentials import Chain, Environment, File

        project = self.find_project()
        if project is not None and project.nats == EMBEDDED:
            url = self.find_nats() or ""
            return self._announced_login(url), self._tls(project) if url[:4] == "tls:" else None
        login = Chain(Environment(os.environ, prefix="ESKIT_NATS"))
        if project is not None and project.nats_credentials is not None:
            login = Chain(login, File(project.nats_credentials))
        tls = self._tls(project) if project is not None else None
        if login.find() is not None:
            return login, tls
        return self._announced_login(self.find_nats() or ""), tls

    def _announced_login(self, url: str) -> Provider | None:
        """The login of the project's embedded server, if that is where the URL leads."""
        project = self.find_project()
        if project is None or (project.nats != EMBEDDED and "@" in url):
            return None
        from eskit.nats.server import AnnouncedLogin

        login = AnnouncedLogin(project.root, url)
        return login if login.find() is not None else None

    def _tls(self, project: Project) -> Tls | None:
        from eskit.nats.login import Tls

        if project.nats_ca is None and project.nats_cert is None:
            return None
        return Tls(ca=project.nats_ca, cert=project.nats_cert, key=project.nats_key)

    def connect_nats(self, name: str) -> AbstractAsyncContextManager[Connection]:
        """A connection to NATS; `name` is what the server's lists show."""
        from eskit.nats.connection import connected

        credentials, tls = self.nats_login()
        return connected(self.nats_url(), name=name, credentials=credentials, tls=tls)

    def in_nats(
        self, name: str, work: Callable[[Connection, StreamNames], Awaitable[Result]]
    ) -> Result:
        """Work over a connection, with the names of the app's stream as they hold there."""
        import asyncio

        async def run() -> Result:
            async with self.connect_nats(name) as connection:
                return await work(connection, await self.settle_names(connection))

        return asyncio.run(run())

    async def find_place(self, name: str, *, store_id: str) -> FormerPlace | None:
        """How far a reaction was that kept its place in NATS; see `takeover.find_place`."""
        from eskit.messaging.names import FORMER_STREAM
        from eskit.messaging.takeover import find_place

        async with self.connect_nats("eskit serve") as connection:
            settled, _ = await self.settle_names(connection)
            scopes = dict.fromkeys([settled, self.project.nats_stream, FORMER_STREAM])
            return await find_place(connection, name, scopes=scopes, store_id=store_id)

    async def settle_names(self, connection: Connection) -> StreamNames:
        """The JetStream stream and the prefix of the project, as they hold where NATS is.

        What was published under the names of before stays there until the settings say otherwise.
        """
        from eskit.domain.subjects import DEFAULT_NAMES, StreamNames
        from eskit.messaging.names import find_only_names, settle_names

        project = self.find_project()
        if project is None:
            return await find_only_names(connection) or DEFAULT_NAMES
        settings = project.settings
        return await settle_names(
            connection,
            StreamNames(project.nats_stream, project.nats_prefix),
            chosen_stream=bool(settings["nats_stream"].text),
            chosen_prefix=bool(settings["nats_prefix"].text),
            is_own=self._is_of_app,
            known=self._known_relay_stream(),
        )

    def _is_of_app(self, source: str) -> bool:
        """Whether the app has published under a ``ce-source``, without its store."""
        from eskit.nats.headers import app_of, source_of

        try:
            name = self.load_app().name
        except EskitError:
            name = self.project.package  # far from its code
        return source == app_of(source_of(name, ""))

    def _known_relay_stream(self) -> str:
        """When the stream was created that the store's relay has published to; empty if unknown."""
        from eskit.store.records import RELAY_STREAM_CHECKPOINT

        try:
            with self.open_store() as store:
                checkpoint = store.find_checkpoint(RELAY_STREAM_CHECKPOINT)
        except EskitError:
            return ""
        return checkpoint.event_id if checkpoint is not None else ""

    async def stream_settings(self, connection: Connection) -> StreamSettings:
        """How the project wants its JetStream stream to be."""
        from eskit.messaging.stream_settings import StreamSettings

        project = self.project
        names = await self.settle_names(connection)
        age, window = project.nats_max_age, project.nats_duplicate_window
        return StreamSettings(
            name=names.stream,
            prefix=names.prefix,
            replicas=project.nats_replicas,
            max_age=None if age is None else age.total_seconds(),
            max_bytes=project.nats_max_bytes,
            duplicate_window=None if window is None else window.total_seconds(),
        )

    def load_app(self) -> App:
        """The project's application object, not opened."""
        from eskit.project.layout import load_app

        return load_app(self.project)

    @contextmanager
    def open_app(self, *, create: bool = True) -> Iterator[RunningApp]:
        """The application on the project's store and read models."""
        app, project = self.load_app(), self.project
        with (
            self.open_store(create=create) as store,
            app.open(
                store=store, read_models=project.read_models, slow_after=project.slow_after
            ) as running,
        ):
            yield running

    def _absolute_store(self) -> str:
        """A SQLite path in --store is relative to the chosen folder, as typed."""
        if not self.store_option:
            return ""
        from eskit.sqlite.url import absolute_url

        return absolute_url(self.store_option, self.directory.resolve())

    def _show_settings(self, project: Project) -> None:
        from eskit.project.settings import without_secrets

        self.output.note(f"project  {project.root}")
        self.output.note(
            *(
                f"  {name} = {value}  ({setting.origin})"
                for name, setting in project.settings.items()
                for reading in [_READINGS.get(name, name)]
                # A default may be made of another setting, and have its password.
                for value in [
                    setting.shown or without_secrets(str(getattr(project, reading) or "none"))
                ]
            )
        )


def _own_postgres(project: Project) -> str | None:
    """The URL of the server that `eskit dev --postgres` runs, if it does.

    Raises StoreUnavailable while that starts the server again: the other store is not meant.
    """
    from eskit.processes.announcement import Announcement

    announcement = Announcement(project.postgres_announcement)
    url = announcement.find_url()
    if url is None and (keeper := announcement.find_keeper()):
        raise StoreUnavailable(
            f"Process {keeper} starts the PostgreSQL server of this project again",
            hint="Try again, or stop that process first.",
        )
    return url


def session_of(context: typer.Context) -> Session:
    """The session that the root command made, its hints about the tenants of the command."""
    session = context.find_object(Session)
    if session is None:
        raise RuntimeError("commands run below the root command, which makes the session")
    tenants = context.params.get("tenants") or [context.params.get("tenant")]
    session.output.hints = session.output.hints.of_tenants([name for name in tenants if name])
    return session
