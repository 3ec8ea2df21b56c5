"""Commands through an app: decided on current state, appended once, answered the same again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eskit.app import App, RunningApp
from eskit.cqrs.options import CallOptions
from eskit.domain.events import NewEvent
from eskit.domain.ids import derived_id
from eskit.errors import (
    ClaimTaken,
    CommandIdReused,
    CommandRejected,
    InvalidArgument,
    ProjectError,
    RequestTimeout,
    VersionConflict,
)
from eskit.operations.pruning import prune_commands
from eskit.store.eventstore import EventStore
from tests.support.coded import coded


@pytest.fixture
def running(bank: Any) -> Iterator[RunningApp]:
    with bank.app.open("memory://") as running:
        yield running


def open_account(running: RunningApp, bank: Any, account_id: str = "acc-001", **more: str) -> Any:
    command = bank.pb.OpenAccountCommand(
        account_id=account_id, owner_name="Alice", initial_balance="1000.00"
    )
    return running.execute(command, **more)


def stored(store: EventStore, stream: str = "Account-acc-001", **bounds: Any) -> list[Any]:
    return list(store.read_stream(stream, **bounds))


def test_a_command_is_decided_and_its_events_are_appended(running: RunningApp, bank: Any) -> None:
    response = open_account(running, bank)

    assert (response.account_id, response.version) == ("acc-001", 1)
    [event] = stored(running.store)
    assert event.event_type == "account.v1.AccountOpenedEvent"
    assert event.message.owner_name == "Alice"


def test_a_rejected_command_appends_nothing(running: RunningApp, bank: Any) -> None:
    open_account(running, bank)

    with pytest.raises(CommandRejected) as rejected:
        running.execute(bank.pb.WithdrawCommand(account_id="acc-001", amount="1000.01"))

    assert rejected.value.rejection == "INSUFFICIENT_FUNDS"
    assert running.store.stream_version("Account-acc-001") == 1


def test_an_empty_id_is_rejected_before_any_rule_runs(running: RunningApp, bank: Any) -> None:
    with pytest.raises(CommandRejected) as rejected:
        running.execute(bank.pb.DepositCommand(account_id="", amount="1"))

    assert rejected.value.rejection == "INVALID_ID"


def test_a_resent_command_answers_with_the_first_response(running: RunningApp, bank: Any) -> None:
    open_account(running, bank)
    deposit = bank.pb.DepositCommand(account_id="acc-001", amount="50.00")
    first = running.execute(deposit, command_id="deposit-1")
    running.execute(bank.pb.DepositCommand(account_id="acc-001", amount="1"))

    again = running.execute(deposit, command_id="deposit-1")

    assert again == first
    assert running.store.stream_version("Account-acc-001") == 3


def test_a_forgotten_command_runs_again_with_event_ids_of_its_own(bank: Any) -> None:
    with bank.app.open("sqlite:///bank.db?command_ttl_days=0") as running:
        open_account(running, bank)
        deposit = bank.pb.DepositCommand(account_id="acc-001", amount="50.00")
        for _ in range(2):
            running.execute(deposit, command_id="deposit-1")
            prune_commands(running.store)

        events = stored(running.store)

    assert [event.metadata.command_id for event in events[1:]] == ["deposit-1"] * 2
    assert len({event.event_id for event in events}) == 3


def test_a_resent_open_is_answered_although_the_account_now_exists(
    running: RunningApp, bank: Any
) -> None:
    first = open_account(running, bank, command_id="open-1")

    again = open_account(running, bank, command_id="open-1")

    assert again == first
    assert len(stored(running.store)) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"account_id": "acc-001", "amount": "51.00"}, id="another request"),
        pytest.param({"account_id": "acc-002", "amount": "50.00"}, id="another stream"),
    ],
)
@pytest.mark.promise("commands-are-done-once")
def test_a_command_id_for_another_command_is_refused(
    running: RunningApp, bank: Any, other: dict[str, str]
) -> None:
    """The first aggregate's events must not be the answer to another's command."""
    open_account(running, bank)
    open_account(running, bank, "acc-002")
    deposit = bank.pb.DepositCommand(account_id="acc-001", amount="50.00")
    running.execute(deposit, command_id="deposit-1")

    with pytest.raises(CommandIdReused):
        running.execute(bank.pb.DepositCommand(**other), command_id="deposit-1")


@pytest.mark.promise("commands-are-done-once")
def test_a_rejection_is_not_remembered(running: RunningApp, bank: Any) -> None:
    deposit = bank.pb.DepositCommand(account_id="acc-001", amount="50.00")
    with pytest.raises(CommandRejected):
        running.execute(deposit, command_id="deposit-1")
    open_account(running, bank)

    response = running.execute(deposit, command_id="deposit-1")

    assert response.new_balance == "1050.00"


@pytest.mark.promise("events-say-who-and-why")
def test_events_carry_who_and_why(running: RunningApp, bank: Any) -> None:
    """Command id, correlation and principal reach the event's metadata."""
    options = CallOptions(
        command_id="c-1", correlation_id="corr-1", causation_id="cause-1", principal_id="alice"
    )
    command = bank.pb.OpenAccountCommand(
        account_id="acc-001", owner_name="Alice", initial_balance="1"
    )

    running.execute(command, options=options)

    [event] = stored(running.store)
    assert event.metadata.command_id == "c-1"
    assert event.metadata.correlation_id == "corr-1"
    assert event.metadata.causation_id == "cause-1"
    assert event.metadata.principal_id == "alice"


def test_the_correlation_is_the_command_id_by_default(running: RunningApp, bank: Any) -> None:
    open_account(running, bank, command_id="c-1")

    [event] = stored(running.store)
    assert event.metadata.correlation_id == "c-1"


@pytest.mark.promise("conflicts-are-decided-again")
def test_a_callers_own_expected_version_conflicts_instead_of_being_decided_again(
    running: RunningApp, bank: Any
) -> None:
    open_account(running, bank)
    deposit = bank.pb.DepositCommand(account_id="acc-001", amount="1")

    with pytest.raises(VersionConflict) as conflict:
        running.execute(deposit, options=CallOptions(expected_version=0))

    assert (conflict.value.expected, conflict.value.actual) == (0, 1)
    assert running.execute(deposit, options=CallOptions(expected_version=1)).version == 2


@pytest.mark.promise("conflicts-are-decided-again")
def test_a_lost_race_is_decided_again_on_fresh_state(running: RunningApp, bank: Any) -> None:
    open_account(running, bank)
    rival = _Rival(running.store, bank, times=2)

    with bank.app.open(rival) as raced:
        response = raced.execute(bank.pb.DepositCommand(account_id="acc-001", amount="5.00"))

    assert response.version == 4
    assert response.new_balance == "7.00"


def test_a_race_is_run_again_as_long_as_the_call_may_take(running: RunningApp, bank: Any) -> None:
    open_account(running, bank)
    rival = _Rival(running.store, bank, times=12)

    with bank.app.open(rival) as raced:
        response = raced.execute(bank.pb.DepositCommand(account_id="acc-001", amount="5.00"))

    assert response.version == 14


@pytest.mark.promise("conflicts-are-decided-again")
def test_a_race_lost_every_time_ends_with_the_time_of_the_call(
    running: RunningApp, bank: Any
) -> None:
    open_account(running, bank)
    rival = _Rival(running.store, bank, times=1_000_000)
    deposit = bank.pb.DepositCommand(account_id="acc-001", amount="5.00")

    with bank.app.open(rival) as raced, pytest.raises(RequestTimeout) as told:
        raced.execute(deposit, options=CallOptions(timeout=0.3))

    assert "Other writers were faster every time" in str(told.value)
    assert "Send it again" in told.value.hint
    amounts = {event.message.amount for event in stored(running.store)[1:]}
    assert amounts == {""}


@pytest.mark.promise("conflicts-are-decided-again")
def test_writers_of_many_processes_all_come_through(bank: Any) -> None:
    """Apps of their own know nothing of each other's locks, as processes do."""
    deposit = bank.pb.DepositCommand(account_id="acc-1", amount="1.00")
    begin = threading.Barrier(8)

    def pay() -> int:
        with bank.app.open("sqlite:///log.db") as running:
            begin.wait(30)
            return [running.execute(deposit).version for _ in range(8)][-1]

    with bank.app.open("sqlite:///log.db") as running:
        running.execute(
            bank.pb.OpenAccountCommand(account_id="acc-1", owner_name="Ann", initial_balance="1")
        )
        with ThreadPoolExecutor(8) as pool:
            versions = [paid.result(60) for paid in [pool.submit(pay) for _ in range(8)]]
        stored = running.store.stream_version("Account-acc-1")

    assert stored == max(versions) == 1 + 8 * 8


def test_commands_of_one_stream_run_one_after_another(bank: Any) -> None:
    with bank.app.open("sqlite:///bank.db") as running:
        open_account(running, bank)
        deposit = bank.pb.DepositCommand(account_id="acc-001", amount="1.00")
        threads = [
            threading.Thread(target=lambda: [running.execute(deposit) for _ in range(20)])
            for _ in range(8)
        ]

        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        events = stored(running.store)
    assert [event.version for event in events] == list(range(1, 162))
    assert events[-1].message.new_balance == "1160.00"


def test_two_new_aggregates_cannot_hold_one_claim(running: RunningApp, bank: Any) -> None:
    """A new aggregate claims under its own id, not under an empty one."""
    open_account(running, bank)
    assert running.store.find_claim("account_id", "acc-001") == "Account-acc-001"

    taken = bank.claim("account_id", "acc-001")
    event = bank.pb.MoneyDepositedEvent(account_id="acc-002", amount="1", new_balance="1")
    with pytest.raises(ClaimTaken) as refused:
        running.store.append(
            "Account-acc-002", [NewEvent(event, claims=(taken,))], expected_version=0
        )

    assert refused.value.owner == "Account-acc-001"


def test_tenants_do_not_see_each_others_accounts(running: RunningApp, bank: Any) -> None:
    command = bank.pb.OpenAccountCommand(
        account_id="acc-001", owner_name="Alice", initial_balance="1"
    )
    running.execute(command, options=CallOptions(tenant="a"))

    running.execute(command, options=CallOptions(tenant="b"))

    assert running.store.for_tenant("a").stream_version("Account-acc-001") == 1
    assert running.store.for_tenant("b").stream_version("Account-acc-001") == 1
    assert running.store.stream_version("Account-acc-001") == 0


def test_a_tenant_that_is_no_name_is_refused(running: RunningApp, bank: Any) -> None:
    with pytest.raises(InvalidArgument):
        running.execute(
            bank.pb.DepositCommand(account_id="a", amount="1"),
            options=CallOptions(tenant="../x"),
        )


def test_a_message_that_no_method_takes_is_refused(running: RunningApp, bank: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"No command method takes account\.v1\.Account"):
        running.execute(bank.pb.Account())


def test_ids_are_derived_the_same_for_the_same_parts() -> None:
    assert derived_id("a", "b") == derived_id("a", "b")
    assert derived_id("a", "b") != derived_id("ab", "")


class _Rival:
    """A store in which somebody else deposits right before each of the first appends."""

    def __init__(self, store: EventStore, bank: Any, *, times: int) -> None:
        self._store = store
        self._bank = bank
        self._times = times
        self.raced = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def for_tenant(self, _tenant: str) -> Any:
        return self

    def append(self, stream: str, events: Any, **more: Any) -> Any:
        if self.raced < self._times:
            self.raced += 1
            event = self._bank.pb.MoneyDepositedEvent(new_balance=f"{self.raced}.00")
            version = self._store.stream_version(stream)
            self._store.append(stream, [NewEvent(event)], expected_version=version)
        return self._store.append(stream, events, **more)


def test_an_app_with_rules_that_are_not_all_written_is_refused_at_start(bank: Any) -> None:
    class Hasty(bank.Account):  # type: ignore[misc]
        withdraw = bank.es.AccountAggregate.withdraw

    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match="Hasty does not implement withdraw"
    ):
        App("bank", aggregates=[Hasty], upcasters=bank.upcasters)


def test_an_app_with_queries_that_are_not_all_written_is_refused_at_start(bank: Any) -> None:
    class Mute(bank.es.AccountQueryHandler):  # type: ignore[misc]
        pass

    with pytest.raises(
        ProjectError,
        check=coded("PROJECT_INVALID"),
        match="Mute does not implement get_account, get_account_balance",
    ):
        App("bank", queries=[Mute])
