"""pgbouncer in transaction mode in front of a server, for tests; it is not a Python package."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from eskit.postgres.server import unprivileged_user
from eskit.processes.child import tied_to_parent

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
_READY_WITHIN = 30.0


@contextmanager
def pooled(url: str, *, sessions: int = 10) -> Iterator[str]:
    """The URL of a pooler that shares out so many sessions of the server at `url`."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="eskit-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        settings = folder / "pgbouncer.ini"
        settings.write_text(f"""
[databases]
* = host={parts.hostname} port={parts.port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
""")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                tied_to_parent([PROGRAM, str(settings)], user=unprivileged_user(), stop="INT"),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            pooler = parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()
            _wait(pooler)
            yield pooler
        finally:
            process.stdin.close()
            process.wait(30)


def _wait(url: str) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
