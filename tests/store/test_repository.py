"""Aggregates loaded from their events and saved to them."""

from datetime import datetime, timedelta

import pytest

from eskit.domain.aggregate import pending_events
from eskit.domain.commands import Command
from eskit.domain.events import NewEvent
from eskit.domain.streams import ANY
from eskit.errors import (
    ClaimTaken,
    InvalidArgument,
    StoreDamaged,
    StreamNotFound,
    VersionConflict,
)
from eskit.store.open import open_store
from eskit.store.replay import replay
from eskit.store.repository import Repository
from eskit.testing.store_contract import SettableClock
from tests.support.ledger import UPCASTERS, DepositedEvent, Ledger, OpenedEventV1
from tests.support.stores import memory_store


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture
def store(clock):
    with memory_store(clock=clock) as store:
        yield store


@pytest.fixture
def ledgers(store):
    return Repository(store, Ledger, upcasters=UPCASTERS)


def opened(ledger_id="l-1", owner="Ann", *deposits):
    ledger = Ledger(ledger_id)
    ledger.open(owner)
    for amount in deposits:
        ledger.deposit(amount)
    return ledger


def test_a_saved_aggregate_is_loaded_with_its_state_and_version(ledgers):
    ledgers.save(opened("l-1", "Ann", 5, 7))

    loaded = ledgers.load("l-1")

    assert (loaded.id, loaded.version) == ("l-1", 3)
    assert (loaded.state.owner, loaded.state.balance) == ("Ann", 12)
    assert pending_events(loaded) == ()


def test_an_aggregate_can_be_used_on_after_a_save(ledgers):
    ledger = opened()
    ledgers.save(ledger)
    ledger.deposit(3)

    result = ledgers.save(ledger)

    assert (result.version, ledger.version) == (2, 2)
    assert ledgers.load("l-1").state.balance == 3


def test_an_unknown_aggregate_is_not_found(ledgers):
    assert ledgers.find("l-9") is None
    with pytest.raises(StreamNotFound, match="Ledger-l-9"):
        ledgers.load("l-9")


def test_a_save_on_stale_state_conflicts_and_keeps_what_was_emitted(ledgers):
    ledgers.save(opened())
    stale, fresh = ledgers.load("l-1"), ledgers.load("l-1")
    fresh.deposit(1)
    ledgers.save(fresh)
    stale.deposit(2)

    with pytest.raises(VersionConflict):
        ledgers.save(stale)

    assert len(pending_events(stale)) == 1


def test_a_save_at_any_version_brings_the_aggregate_to_what_is_stored(ledgers):
    ledgers.save(opened())
    stale, fresh = ledgers.load("l-1"), ledgers.load("l-1")
    fresh.deposit(1)
    ledgers.save(fresh)
    stale.deposit(2)

    ledgers.save(stale, expected_version=ANY)

    assert (stale.version, stale.state.balance) == (3, 3)


def test_a_repeated_command_leaves_the_aggregate_as_stored(ledgers):
    command = Command(id="c1", fingerprint="Open", response=b"first")
    ledgers.save(opened(), command=command)
    again = opened("l-1", "Bob", 99)

    result = ledgers.save(again, command=command)

    assert result.already_processed
    assert result.response == b"first"
    assert (again.version, again.state.owner) == (1, "Ann")
    assert pending_events(again) == ()


def test_two_new_aggregates_cannot_claim_one_value(ledgers):
    ledgers.save(opened("l-1", "Ann"))

    with pytest.raises(ClaimTaken) as taken:
        ledgers.save(opened("l-2", "Ann"))

    assert taken.value.owner == "Ledger-l-1"


def test_closing_gives_the_claim_back(ledgers):
    ledger = opened("l-1", "Ann")
    ledgers.save(ledger)
    ledger.close()
    ledgers.save(ledger)

    ledgers.save(opened("l-2", "Ann"))

    assert ledgers.load("l-2").state.owner == "Ann"


def test_load_at_a_version_is_the_aggregate_as_it_was(ledgers):
    ledgers.save(opened("l-1", "Ann", 5, 7))

    assert ledgers.load("l-1", at_version=2).state.balance == 5
    assert ledgers.load("l-1", at_version=3).state.balance == 12


@pytest.mark.parametrize("at_version", [0, -1, 4])
def test_load_at_a_version_that_never_was_is_refused(ledgers, at_version):
    ledgers.save(opened("l-1", "Ann", 5, 7))

    with pytest.raises(InvalidArgument):
        ledgers.load("l-1", at_version=at_version)


def test_load_at_a_time_is_the_aggregate_as_it_was(ledgers, clock):
    ledger = opened("l-1", "Ann", 5)
    ledgers.save(ledger)
    first = clock.now
    clock.move(hours=1)
    ledger.deposit(7)
    ledgers.save(ledger)

    assert ledgers.load("l-1", at=first).state.balance == 5
    assert ledgers.load("l-1", at=clock.now - timedelta(microseconds=1)).state.balance == 5
    assert ledgers.load("l-1", at=clock.now).state.balance == 12


def test_load_at_a_time_before_the_first_event_says_when_that_was(ledgers, clock):
    ledgers.save(opened())

    with pytest.raises(StreamNotFound) as missing:
        ledgers.load("l-1", at=clock.now - timedelta(seconds=1))

    assert "2030-01-01T00:00:00+00:00" in missing.value.hint


def test_load_at_a_time_without_zone_is_refused(ledgers):
    ledgers.save(opened())

    with pytest.raises(InvalidArgument):
        ledgers.load("l-1", at=datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("lost", [1, 2, 70])
@pytest.mark.promise("gaps-are-not-folded")
def test_a_stream_that_lacks_an_event_is_not_loaded(lost):
    with open_store("sqlite:///log.db") as store:
        ledgers = Repository(store, Ledger, upcasters=UPCASTERS)
        ledgers.save(opened("l-1", "Ann", *[1] * 99))
        with store.view(exclusive=True) as locked:
            locked._connection.execute("DELETE FROM events WHERE version = ?", (lost,))

        with pytest.raises(StoreDamaged, match=f"Version {lost} of Ledger-l-1 is missing") as found:
            ledgers.load("l-1")

        assert "eskit store verify" in found.value.hint
        for backward in (False, True):
            with pytest.raises(StoreDamaged, match=f"Version {lost} of Ledger-l-1 is missing"):
                list(replay(store, Ledger, "Ledger-l-1", upcasters=UPCASTERS, backward=backward))


def test_old_events_are_loaded_in_their_current_form(ledgers, store):
    store.append("Ledger-l-1", [NewEvent(OpenedEventV1(name="ann"))], expected_version=0)

    assert ledgers.load("l-1").state.owner == "Ann"


def test_tenants_have_aggregates_of_their_own(ledgers):
    ledgers.for_tenant("acme").save(opened("l-1", "Ann"))

    assert ledgers.find("l-1") is None
    assert ledgers.for_tenant("acme").load("l-1").state.owner == "Ann"


def test_an_event_method_sees_the_command_behind_a_stored_event(store, clock):
    seen = []

    class Watching(Ledger):
        def on_deposited(self, event):
            seen.append((self.context.tenant, self.context.now))

    store.for_tenant("acme").append("Ledger-l-1", [NewEvent(DepositedEvent())], expected_version=0)

    Repository(store.for_tenant("acme"), Watching).load("l-1")

    assert seen == [("acme", clock.now)]
