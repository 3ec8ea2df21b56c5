"""An app that takes snapshots answers like one that does not."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from eskit.app import App
from eskit.store.repository import Repository
from eskit.store.snapshotting import SnapshotPolicy
from tests.support.stores import memory_store


@pytest.fixture
def snapshotting(bank: Any) -> App:
    package = bank.Account.__module__.partition(".")[0]
    return App(
        "snapshotting",
        aggregates=bank.app.aggregates,
        upcasters=import_module(f"{package}.domain.upcasters").UPCASTERS,
        snapshots=SnapshotPolicy(every=5, keep=1),
    )


def test_commands_take_snapshots_and_load_from_them(snapshotting: App, bank: Any) -> None:
    with memory_store() as store:
        with snapshotting.open(store) as running:
            running.execute(
                bank.pb.OpenAccountCommand(
                    account_id="acc-1", owner_name="Ann", initial_balance="10.00"
                )
            )
            for _ in range(11):
                running.execute(bank.pb.DepositCommand(account_id="acc-1", amount="1.00"))

        snapshots = list(store.snapshots.read())
        account = Repository(store, bank.Account, snapshotting.upcasters).load("acc-1")

    assert [snapshot.stream for snapshot in snapshots] == ["Account-acc-1"]
    assert 5 <= snapshots[0].version <= 12
    assert (account.version, account.state.balance) == (12, "21.00")
