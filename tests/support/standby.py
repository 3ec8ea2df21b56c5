"""A standby of a private server, which follows it by streaming replication."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import psycopg

from eskit.postgres.server import PrivatePostgres, find_binaries, unprivileged_user

_WITHIN = 60.0


def copy_of(primary: PrivatePostgres, folder: Path) -> PrivatePostgres:
    """A server that is a standby of `primary` once it is started in an empty folder."""
    data, user = folder / "data", unprivileged_user()
    subprocess.run(
        [
            *(find_binaries() / "pg_basebackup", "--pgdata", data, "--dbname", primary.url()),
            *("--checkpoint", "fast", "--write-recovery-conf", "--no-sync"),
        ],
        check=True,
        capture_output=True,
    )
    shutil.copy2(primary.folder / "password", folder)
    if user is not None:
        for path in (data, *data.rglob("*"), folder / "password"):
            shutil.chown(path, *user)
    return PrivatePostgres(folder, settings={"hot_standby": "on"})


def catch_up(primary: PrivatePostgres, standby: PrivatePostgres) -> None:
    """Wait until the standby shows what the primary has committed."""
    target = ask(primary, "SELECT pg_current_wal_flush_lsn()")
    wait_until(standby, f"SELECT pg_last_wal_replay_lsn() >= '{target}'")


def cut_off(standby: PrivatePostgres) -> None:
    """Have the standby receive nothing more, as when the network is gone."""
    ask(standby, "ALTER SYSTEM SET primary_conninfo = ''")
    ask(standby, "SELECT pg_reload_conf()")
    wait_until(standby, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")


def promote(standby: PrivatePostgres) -> None:
    """Make it a primary, with what it has received."""
    ask(standby, "SELECT pg_promote()")
    wait_until(standby, "SELECT NOT pg_is_in_recovery()")


def wait_until(server: PrivatePostgres, condition: str) -> None:
    """Ask until the server says yes."""
    deadline = time.monotonic() + _WITHIN
    while not ask(server, condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)


def ask(server: PrivatePostgres, statement: str) -> object:
    """The one value that a statement answers with, if it does."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None
