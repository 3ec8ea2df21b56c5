"""pyeventsourcing on a file database or PostgreSQL, as its own documentation sets it up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Notification, StoredEvent
from psycopg import sql

from tests.benchmarks.comparison import Timed

_PAGE = 1_000


class Account(Aggregate):
    """An account that counts its money."""

    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    @event("Deposited")
    def deposit(self, note: str, amount: int) -> None:
        self.balance += amount


class Bank(Application[UUID]):
    """Saves and loads accounts."""


def open_bank(path: Path) -> Bank:
    """A bank on a file."""
    return Bank(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)})


def open_postgres_bank(url: str, *, functions: bool) -> Bank:
    """A bank in a schema of its own, whose inserts are statements or a function of the database."""
    parts = urlsplit(url)
    schema = f"peer_{'functions' if functions else 'statements'}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    return Bank(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_HOST": parts.hostname or "",
            "POSTGRES_PORT": str(parts.port),
            "POSTGRES_DBNAME": parts.path[1:],
            "POSTGRES_USER": parts.username or "",
            "POSTGRES_PASSWORD": parts.password or "",
            "POSTGRES_SCHEMA": schema,
            "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if functions else "n",
        }
    )


def inserting(bank: Bank, count: int, note: str, *, threads: int = 1) -> Timed:
    """Insert so many events one by one, in each of some threads a stream of its own."""

    def insert(originator: UUID) -> None:
        for version in range(1, count + 1):
            stored = StoredEvent(originator, version, "tests:Account.Deposited", note.encode())
            bank.recorder.insert_events([stored])

    def run() -> float:
        originators = [uuid4() for _ in range(threads)]
        start = time.perf_counter()
        if threads == 1:
            insert(originators[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(insert, originators))
        return time.perf_counter() - start

    return run


def saving(bank: Bank, count: int) -> Timed:
    """Save so many new aggregates of one event."""

    def run() -> float:
        accounts = [Account("Ann") for _ in range(count)]
        start = time.perf_counter()
        for account in accounts:
            bank.save(account)
        return time.perf_counter() - start

    return run


def fill(bank: Bank, events: int, note: str) -> UUID:
    """One aggregate with an opening and so many deposits; its id."""
    account = Account("Ann")
    for number in range(events):
        account.deposit(note, number)
    bank.save(account)
    return account.id


def loading(bank: Bank, account: UUID) -> Timed:
    """Load an aggregate from all of its events."""

    def run() -> float:
        start = time.perf_counter()
        bank.repository.get(account)
        return time.perf_counter() - start

    return run


def last_position(bank: Bank) -> int:
    """The position of the last event of the log."""
    return bank.recorder.max_notification_id() or 0


def reading(bank: Bank, count: int, *, after: int = 0) -> Timed:
    """Read the log in pages and decode every event."""

    def run() -> float:
        start = time.perf_counter()
        last, decoded = after, 0
        while page := bank.recorder.select_notifications(last + 1, _PAGE):
            for notification in page:
                bank.mapper.to_domain_event(notification)
            decoded += len(page)
            last = page[-1].id
        assert decoded == count
        return time.perf_counter() - start

    return run


def bytes_per_event(bank: Bank, path: Path, count: int) -> float:
    """Bytes on disk for each event, over what its state takes."""
    payload = sum(len(stored.state) for stored in islice(_stored(bank), count))
    return (path.stat().st_size - payload) / count


def _stored(bank: Bank) -> Iterator[Notification]:
    last = 0
    while page := bank.recorder.select_notifications(last + 1, _PAGE):
        yield from page
        last = page[-1].id
