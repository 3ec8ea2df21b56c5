"""One command to an aggregate with a history, beside one to an aggregate that has hardly any."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from eskit import App, NewEvent, open_store
from eskit.app import RunningApp
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.services import Method
from tests.benchmarks.comparison import Comparison, Target, Timed, compare
from tests.support.ledger import DepositedEvent, LedgerState, OpenedEvent

STREAMS = 100
COMMANDS = 300
LONG, SHORT = 200, 2

DEPOSIT = Method(
    service="bench.v1.AccountCommandService",
    name="Deposit",
    python_name="deposit",
    kind="command",
    request=OpenedEvent,
    response=OpenedEvent,
)


class Account(Aggregate[Any, Any]):
    """The command names the account by `owner`."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Account",
        state=LedgerState,
        id_field="owner",
        commands=(DEPOSIT,),
        events=(EventMethod(event=DepositedEvent, python_name="on_deposited"),),
    )

    def deposit(self, command: Any) -> Any:
        self.emit(DepositedEvent(amount=1))
        return command

    def on_deposited(self, event: Any) -> None:
        self.state.balance += event.amount


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Commands by turns to a hundred aggregates, each of which had one before."""
    app = App("accounts", aggregates=[Account])
    with (
        app.open(filled(folder / "long.db", LONG)) as long,
        app.open(filled(folder / "short.db", SHORT)) as short,
    ):
        yield compare(
            f"one command, synchronous=normal, to an aggregate of {LONG} events",
            depositing(long),
            floor_name=f"to one of {SHORT} events",
            floor=depositing(short),
            target=Target(kind="time", bound=1.3),
            rounds=rounds,
            count=COMMANDS,
        )


def filled(path: Path, events: int) -> str:
    """The URL of a store of accounts with so many events each."""
    url = f"sqlite:///{path}"
    with open_store(url) as store:
        for number in range(STREAMS):
            deposits = [NewEvent(DepositedEvent(amount=1)) for _ in range(events)]
            store.append(f"Account-{number}", deposits, expected_version=0)
    return f"{url}?synchronous=normal"


def depositing(running: RunningApp) -> Timed:
    """Commands to the accounts by turns."""
    turn = count()

    def run() -> float:
        start = time.perf_counter()
        for _ in range(COMMANDS):
            running.execute(OpenedEvent(owner=f"{next(turn) % STREAMS}"))
        return time.perf_counter() - start

    return run
