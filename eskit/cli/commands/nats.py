"""``eskit nats``: the embedded NATS server by itself, for development."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import stop_on_signal
from eskit.cli.session import EMBEDDED, Session, session_of
from eskit.errors import InvalidArgument, NotFound, ServiceError

if TYPE_CHECKING:
    from eskit.nats.login import Token, UserPassword
    from eskit.nats.server import EmbeddedNats, ServerTls
    from eskit.project.layout import Project

app = make_app("Start the embedded NATS server.")

_CHECK_EVERY = 1.0
_NATS_PORT = 4222


@app.callback()
def group() -> None:
    """Start the embedded NATS server."""


@app.command(
    "start",
    **examples(
        "eskit nats start",
        "eskit nats start --port 4222 --credentials secrets/nats.json",
        "ESKIT_NATS_TOKEN=… eskit nats start",
        "eskit nats start --tls-cert server.pem --tls-key server-key.pem",
    ),
)
def start(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(metavar="N", min=-1, max=65535, help="-1: a free one.")
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Demand the token, or user and password, in this JSON."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Speak TLS, with this certificate.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Demand certificates of this authority from clients."),
    ] = None,
    max_payload: Annotated[
        str, typer.Option(metavar="SIZE", help="The largest message: 8MB.")
    ] = "8MB",
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write its log there.")] = None,
) -> None:
    """Run a NATS server with JetStream for this project until Ctrl-C.

    The server listens only on the loopback interface, on the port of --port, nats_server_port or
    the URL in nats, else on its last port. Other terminals of the project find it and its login.
    The login is that of ESKIT_NATS_TOKEN, ESKIT_NATS_USER and ESKIT_NATS_PASSWORD, nats_credentials
    or the URL, else a new random one.
    """
    session = session_of(context)
    project = session.project
    wanted = ServerOptions(
        port=port,
        credentials=_place(session, credentials),
        tls_cert=_place(session, tls_cert),
        tls_key=_place(session, tls_key),
        tls_ca=_place(session, tls_ca),
        max_payload=max_payload,
        log=_place(session, log),
    )
    server = embedded_server(session, wanted)
    refuse_second_server(project)
    with stop_on_signal() as stop, server:
        server.announce(project.root)
        session.output.result(
            {"url": server.address, "pid": server.pid},
            [f"NATS runs at {server.address} until Ctrl-C"],
        )
        while not stop.wait(_CHECK_EVERY):
            server.check_health()
    session.output.note("NATS stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How the server is wanted; what is None is as the project's settings say."""

    port: int | None = None
    credentials: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    max_payload: str = "8MB"
    log: Path | None = None


def embedded_server(session: Session, wanted: ServerOptions | None = None) -> EmbeddedNats:
    """The project's server, not started. Raises InvalidArgument, NotFound."""
    from eskit.nats.login import Token, UserPassword
    from eskit.nats.server import EmbeddedNats, find_last_port
    from eskit.text.quantities import parse_size

    project, wanted = session.project, wanted or ServerOptions()
    port, in_url = _place_in_url(project)
    login = _demanded_login(wanted.credentials, project.nats_credentials) or in_url
    if port and wanted.port not in (None, port):
        raise InvalidArgument(
            f"The project looks for NATS on port {port}, not on {wanted.port}",
            hint='Leave out --port, or set nats = "embedded".',
        )
    return EmbeddedNats(
        _nats_folder(project),
        port=port or wanted.port or project.nats_server_port or -1,
        likely_port=find_last_port(project.root) if wanted.port is None else 0,
        token=login.token if isinstance(login, Token) else "",
        user=login.user if isinstance(login, UserPassword) else "",
        password=login.password if isinstance(login, UserPassword) else "",
        tls=_server_tls(
            wanted.tls_cert or project.nats_server_cert,
            wanted.tls_key or project.nats_server_key,
            wanted.tls_ca or project.nats_server_ca,
        ),
        max_payload=parse_size(wanted.max_payload),
        log_file=wanted.log,
    )


@contextmanager
def running_server(session: Session) -> Iterator[None]:
    """The project's embedded server for as long as the block takes, unless it runs already.

    Nothing is started when the project uses another server.
    """
    if session.project.nats != EMBEDDED or session.find_nats():
        yield
        return
    with embedded_server(session) as server:
        server.announce(session.project.root)
        yield


def refuse_second_server(project: Project) -> None:
    """Raise ServiceError when a server of the project runs already: they share a folder."""
    from eskit.nats.server import find_announced, find_keeper

    keeper = find_keeper(project.root)
    if url := find_announced(project.root):
        of = f" (process {keeper})" if keeper else ""
        raise ServiceError(
            f"A NATS server of this project runs already, at {url.rpartition('@')[2]}{of}",
            hint="Use that one, or stop it first with Ctrl-C in its terminal.",
        )
    if keeper is not None:
        raise ServiceError(
            f"Process {keeper} starts the NATS server of this project again by itself",
            hint="Wait for it, or stop that process first.",
        )


def _nats_folder(project: Project) -> Path:
    """Where the project's embedded server keeps its streams: only this user may look."""
    folder = project.nats_folder
    for made in (project.state_dir, folder):
        made.mkdir(mode=0o700, exist_ok=True)
    return folder


def _place_in_url(project: Project) -> tuple[int, Token | UserPassword | None]:
    """The port and the login that the project's URL wants of a server on this machine.

    0 when nats is "embedded"; ServiceError for a URL of another machine, or of several servers.
    """
    from eskit.nats.login import Token, UserPassword
    from eskit.nats.server import is_local

    if project.nats == EMBEDDED:
        return 0, None
    shown = project.settings["nats"].shown
    if not is_local(project.nats):
        raise ServiceError(
            f"This project uses the NATS server at {shown}, which eskit does not start",
            hint='Start it where it is, or set nats = "embedded".',
        )
    parts = urlsplit(project.nats if "://" in project.nats else f"nats://{project.nats}")
    user, password = unquote(parts.username or ""), parts.password
    login = Token(user) if password is None else UserPassword(user, unquote(password))
    return parts.port or _NATS_PORT, login if user else None


def _place(session: Session, file: Path | None) -> Path | None:
    return session.path(file) if file is not None else None


def _demanded_login(option: Path | None, setting: Path | None) -> Token | UserPassword | None:
    """What clients have to know: by option, else by the environment, else by the setting."""
    from eskit.nats.credentials import Environment, File
    from eskit.nats.login import Token, UserPassword

    login = Environment(os.environ, prefix="ESKIT_NATS").find() if option is None else None
    file = option or setting
    if login is None and file is not None:
        login = File(file).find()
        if login is None:
            raise NotFound(
                f"There is no file {file} with the login",
                hint='Write it: {"token": "…"}, or {"user": "…", "password": "…"}.',
            )
    if login is None or isinstance(login, Token):
        return login
    if isinstance(login, UserPassword) and login.password:
        return login
    raise InvalidArgument(
        "The embedded server takes a token, or a user and password",
        hint="For key pairs run a nats-server of your own, and set nats to its URL.",
    )


def _server_tls(cert: Path | None, key: Path | None, ca: Path | None) -> ServerTls | None:
    from eskit.nats.server import ServerTls

    files = [file for file in (cert, key, ca) if file is not None]
    for file in files:
        if not file.is_file():
            raise NotFound(f"There is no file {file}", hint="TLS takes PEM files.")
    if not files:
        return None
    if cert is None or key is None:
        raise InvalidArgument(
            "TLS takes a certificate and its key",
            hint="Give both: --tls-cert and --tls-key, or nats_server_cert and nats_server_key.",
        )
    return ServerTls(cert=cert, key=key, ca=ca)
