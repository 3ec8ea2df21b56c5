"""The process between an application and its embedded nats-server; it imports only the stdlib.

Run as ``python -I -S supervisor.py``: its own session, so that Ctrl-C in the terminal does not
reach it, and single-threaded, so that the server can be tied to it. It lives exactly as long as its
standard input stays open: when the application stops, exits or is killed, the pipe closes and the
supervisor ends the server and removes its folder.

It reads one JSON line (``server``, ``config``, ``store_dir``) and answers with one: ``url``,
``pid`` and ``folder`` when the server is ready, or ``error``. Of a server that ends by itself it
tells in another, ``ended``. The lock file is inherited by the server, so a folder is held as long
as either of the two processes lives.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PREFIX = "eskit-nats-"
LOCK = "eskit.lock"
READY_WITHIN = 10.0
STOP_WITHIN = 3.0
LOOK_EVERY = 0.5
ABANDONED_AFTER = 60.0
_PR_SET_PDEATHSIG = 1


class CannotStart(Exception):
    """What to tell the application when there is no server."""


def main() -> int:
    """Start the server, wait until the application is gone, and clean up."""
    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _close_standard_input)
    order = json.loads(sys.stdin.readline() or "{}")
    if not order:
        return 0
    folder, lock = own_folder()
    server = None
    try:
        store_dir, locks = Path(folder), [lock]
        if order["store_dir"]:
            store_dir = Path(order["store_dir"])
            locks.append(lock_folder(store_dir))
        server = launch(order, folder, store_dir, locks)
        url = wait_until_ready(server, folder)
        answer({"url": url, "pid": server.pid, "folder": str(folder)})
        wait_for_the_end(server, parent)
        if server.poll() is not None:
            answer({"ended": how_it_ended(server.returncode, folder)})
    except CannotStart as problem:
        answer({"error": str(problem)})
        return 1
    finally:
        if server is not None:
            end(server)
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def own_folder() -> tuple[Path, int]:
    """A new private folder with its lock held; abandoned folders are removed first."""
    sweep(Path(tempfile.gettempdir()))
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        # Another supervisor's sweep may have come between the two calls; then take a new folder.
        if try_lock(lock) and (folder / LOCK).exists():
            return folder, lock
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the folders of supervisors that were killed, this user's only."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            status = folder.lstat()
            if status.st_uid != os.getuid() or folder.is_symlink():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR)
        except FileNotFoundError:
            if time.time() - status.st_mtime > ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        except OSError:
            continue
        if try_lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def lock_folder(folder: Path) -> int:
    """Hold a folder that the user named, so that no two servers ever write to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise CannotStart(f"Cannot use {folder}: {error.strerror}") from error
    if not try_lock(lock):
        raise CannotStart(f"Another nats-server uses {folder}")
    return lock


def try_lock(lock: int) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def launch(
    order: dict[str, Any], folder: Path, store_dir: Path, locks: list[int]
) -> subprocess.Popen[bytes]:
    """Write the configuration and start the server."""
    config = dict(order["config"], ports_file_dir=str(folder), pid_file=str(folder / "nats.pid"))
    config.setdefault("log_file", str(folder / "nats.log"))
    config["jetstream"] = dict(config.get("jetstream", {}), store_dir=str(store_dir))
    path = folder / "nats.conf"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
        # The server reads UTF-8, but not JSON's \uXXXX.
        file.write(os.fsencode(json.dumps(config, ensure_ascii=False)))
    try:
        with (folder / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                [order["server"], "-c", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=locks,
                preexec_fn=tied_to_this_process if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
            )
    except OSError as error:
        raise CannotStart(f"Cannot run {order['server']}: {error.strerror}") from error


def tied_to_this_process() -> None:
    """Linux: the server is killed when the supervisor is."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until_ready(server: subprocess.Popen[bytes], folder: Path) -> str:
    """The client URL, once the server has written down its ports."""
    ports = folder / f"nats-server_{server.pid}.ports"
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise CannotStart(f"nats-server ended at once: {last_words(folder)}")
        try:
            urls = json.loads(ports.read_text())["nats"]
        except (FileNotFoundError, ValueError):
            time.sleep(0.005)
            continue
        return str(urls[0])
    raise CannotStart(f"nats-server was not ready within {READY_WITHIN:.0f} s")


def last_words(folder: Path) -> str:
    """The last line that the server wrote, which says why it ended."""
    for name in ("nats.log", "stderr"):
        try:
            lines = (folder / name).read_text(errors="replace").split("\n")
        except FileNotFoundError:
            continue
        written = [line.strip() for line in lines if line.strip()]
        if written:
            return written[-1]
    return "it wrote nothing"


def how_it_ended(code: int, folder: Path) -> str:
    """For people: the signal that ended the server, or its last words."""
    if code < 0:
        return f"signal {-code}"
    return f"exit code {code}, {last_words(folder)}"


def wait_for_the_end(server: subprocess.Popen[bytes], parent: int) -> None:
    """Return when the pipe closes, the application is gone, or the server has ended.

    A forked child of the application may keep the pipe open, hence the look at the parent.
    """
    while server.poll() is None and os.getppid() == parent:
        try:
            readable, _, _ = select.select([0], [], [], LOOK_EVERY)
            if readable and not os.read(0, 4096):
                return
        except (OSError, ValueError):
            return


def end(server: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM) -> None:
    """TERM, or the signal given, then KILL."""
    if server.poll() is None:
        server.send_signal(first)
        try:
            server.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def answer(line: dict[str, Any]) -> None:
    """Tell the application, if it is still there; its absence ends the supervisor in due course."""
    try:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    except OSError:
        # Leave nothing in the buffer: the interpreter would try it again at exit and complain.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def _close_standard_input(*_: object) -> None:
    """A signal ends the supervisor in the way a closed pipe does."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
