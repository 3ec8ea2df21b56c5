"""Every daily read finds what it looks for by an index, whatever the plan knows of the values."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from eskit import ANY, Command, NewEvent, claim, open_store

STREAMS, EACH = 40, 500
REPEATS = 12
"""More often than the driver and the server need to settle on a plan for all values."""


@pytest.fixture
def database(postgres):
    """The URL of a database of its own, in which plans do not depend on values."""
    name = f"plans_{os.getpid()}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        admin.execute(f"ALTER DATABASE {name} SET plan_cache_mode = 'force_generic_plan'")
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def fill(store):
    for number in range(STREAMS):
        events = [NewEvent(StringValue(value="x")) for _ in range(EACH)]
        store.append(f"Account-{number}", events, expected_version=0)
    rare = NewEvent(Int32Value(value=1), claims=[claim("email", "ann@example.com")])
    command = Command(id="c-1", fingerprint="f")
    store.append("Rare-1", [rare], expected_version=0, command=command)
    return rare


def reads(store, rare):
    middle = STREAMS * EACH // 2
    return {
        "a page of the log": lambda: list(store.read_all(after=middle, limit=10)),
        "the end of the log": lambda: list(store.read_all(limit=10, backward=True)),
        "rows of the log": lambda: list(store.read_log_rows(after=middle, limit=10)),
        "a stream": lambda: list(store.read_rows("Account-7", after=EACH - 10)),
        "the end of a stream": lambda: list(store.read_stream("Account-7", limit=1, backward=True)),
        "a rare type": lambda: list(store.read_all(event_types=["google.protobuf.Int32Value"])),
        "two types": lambda: list(
            store.read_all(
                after=middle,
                limit=10,
                event_types=["google.protobuf.Int32Value", "google.protobuf.StringValue"],
            )
        ),
        "a rare category": lambda: list(store.read_all(categories=["Rare"])),
        "an event": lambda: store.find_event(middle),
        "the head": store.head_position,
        "the version of a stream": lambda: store.stream_version("Account-7"),
        "a claim": lambda: store.find_claim("email", "ann@example.com"),
        "a command": lambda: store.find_command("c-1"),
        "an append": lambda: store.append(
            "Account-3", [NewEvent(StringValue(value="x"))], expected_version=ANY
        ),
        "an append again": lambda: store.append("Rare-1", [rare], expected_version=ANY),
    }


def scans(admin):
    """Rows of events that were read one after another, and by an index, so far."""
    deadline = time.monotonic() + 60
    while admin.execute(
        "SELECT count(*) > 0 FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'eskit'"
    ).fetchone()[0]:
        assert time.monotonic() < deadline  # a session tells what it has read when it ends
        time.sleep(0.02)
    return admin.execute(
        "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'events'"
    ).fetchone()


def test_no_read_goes_through_the_whole_log(database):
    with open_store(database) as store:
        rare = fill(store)
        names = list(reads(store, rare))
    went_through = {}
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("ANALYZE eskit.events, eskit.streams, eskit.event_types")
        for name in names:
            before = scans(admin)
            with open_store(database) as store:
                read = reads(store, rare)[name]
                for _ in range(REPEATS):
                    read()
            after = scans(admin)
            went_through[name] = [now - then for now, then in zip(after, before, strict=True)]

    assert {name: rows for name, (rows, _) in went_through.items() if rows} == {}
    assert {name: rows for name, (_, rows) in went_through.items() if rows > 30 * REPEATS} == {}
