"""An account opened with AccountOpenedEventV1, read everywhere as today's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eskit.app import App, RunningApp
from eskit.cqrs.reactions import Reaction
from eskit.domain.events import NewEvent
from eskit.errors import UpcastingInvalid
from eskit.projections.projection import Projection
from eskit.store.replay import replay
from eskit.store.repository import Repository

STREAM = "Account-acc-old"


@pytest.fixture
def running(bank: Any, tmp_path: Path) -> Iterator[RunningApp]:
    """The bank over a log that begins with an event of the first version."""
    with bank.app.open(f"sqlite:///{tmp_path / 'bank.db'}") as running:
        opened = bank.pb.AccountOpenedEventV1(
            account_id="acc-old", owner_name="Alice", initial_balance="5.00", timestamp=7
        )
        deposited = bank.pb.MoneyDepositedEvent(
            account_id="acc-old", amount="1.00", new_balance="6.00"
        )
        running.store.append(STREAM, [NewEvent(opened), NewEvent(deposited)], expected_version=0)
        yield running


@pytest.mark.promise("old-events-are-upcast")
def test_an_old_event_is_upcast_on_load_and_for_commands(running: RunningApp, bank: Any) -> None:
    """An upcaster sees the old type wherever an aggregate is loaded."""
    loaded = Repository(running.store, bank.Account, bank.app.upcasters).load("acc-old")
    running.execute(bank.pb.DepositCommand(account_id="acc-old", amount="2.00"))

    assert (loaded.state.owner_name, loaded.state.balance) == ("Alice", "6.00")
    assert (loaded.state.currency, loaded.state.created_at) == ("USD", 7)
    assert running.store.stream_version(STREAM) == 3


def test_an_old_event_is_upcast_in_replay_and_stays_as_it_is_stored(
    running: RunningApp, bank: Any
) -> None:
    first, _ = replay(running.store, bank.Account, STREAM, upcasters=bank.app.upcasters)

    assert first.event.event_type == "account.v1.AccountOpenedEventV1"
    assert (first.state["owner_name"], first.state["balance"]) == ("Alice", "5.00")


@pytest.mark.promise("old-events-are-upcast")
def test_an_old_event_is_upcast_in_projections_and_their_rebuild(
    running: RunningApp, bank: Any
) -> None:
    """Projections see the current form as well."""
    request = bank.pb.GetAccountRequest(account_id="acc-old")
    followed = running.query(request)
    for projection in bank.app.projections:
        running.engine.rebuild(projection.name)
    rebuilt = running.query(request)

    assert (followed.owner_name, followed.balance) == ("Alice", "6.00")
    assert followed == rebuilt


@pytest.mark.promise("old-events-are-upcast")
def test_an_app_without_the_upcaster_is_refused_at_start(bank: Any) -> None:
    with pytest.raises(UpcastingInvalid, match="AccountOpenedEventV1 is deprecated"):
        App("bank", aggregates=bank.app.aggregates)


def test_a_handler_that_an_upcaster_leaves_without_events_is_refused_at_start(bank: Any) -> None:
    """Every old event arrives as the new one, so the handler would never be called."""
    accounts, welcome = Projection("accounts"), Reaction("welcome", start="new")
    for follower in (accounts, welcome):
        follower.on(bank.pb.AccountOpenedEventV1)(print)

    for followers in ({"projections": [accounts]}, {"reactions": [welcome]}):
        with pytest.raises(UpcastingInvalid, match="AccountOpenedEventV1, which an upcaster"):
            App("bank", upcasters=bank.upcasters, **followers)
