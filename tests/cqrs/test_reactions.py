"""Reactions: events that lead to commands, each once however often the event comes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import CallOptions, Projection, Reaction
from eskit.app import App, RunningApp
from eskit.clock import SYSTEM_CLOCK
from eskit.domain.ids import derived_id
from eskit.errors import (
    CheckpointMismatch,
    CommandRejected,
    InvalidArgument,
    NotFound,
    PlaceLost,
    ProjectError,
    ServiceError,
)
from eskit.messaging import follower_status, followers, subscriber
from eskit.messaging.bus import memory_bus
from eskit.messaging.subscription import SubscriptionState
from eskit.messaging.subscriptions_store import (
    list_pauses,
    load_state,
    pause,
    resume,
    save_state,
)
from eskit.operations.erasing import erase
from eskit.operations.files import back_up
from eskit.operations.pruning import prune_commands
from eskit.runtime.assembly import ReactionService
from eskit.store.eventstore import EventStore
from eskit.store.records import FOLLOWER
from eskit.store.reports import no_progress
from eskit.testing.store_contract import SettableClock
from eskit.testing.store_contract.samples import pass_days
from tests.support.coded import coded
from tests.support.stores import memory_store


def bonus_on_opening(bank: SimpleNamespace, **options: Any) -> Reaction:
    reaction = Reaction("bonus", start="first", backoff=[0.01], **options)

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        context.execute(bank.pb.DepositCommand(account_id=event.account_id, amount="5.00"))

    return reaction


def app_with(bank: SimpleNamespace, *reactions: Reaction) -> App:
    return App(
        "bank", aggregates=bank.app.aggregates, upcasters=bank.upcasters, reactions=reactions
    )


def open_account(bank: SimpleNamespace, running: RunningApp, name: str = "acc-1") -> Any:
    command = bank.pb.OpenAccountCommand(
        account_id=name, owner_name="Alice", initial_balance="10.00"
    )
    options = CallOptions(
        command_id=f"open {name}", principal_id="alice", tenant="acme", correlation_id="corr"
    )
    running.execute(command, options=options)
    return list(running.store.read_all())[-1]


@pytest.mark.promise("reactions-act-once")
def test_a_reaction_sends_its_command_once_however_often_the_event_comes(
    bank: SimpleNamespace,
) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        opened = open_account(bank, running)
        for _ in range(3):
            running.react(reaction, opened)
        events = list(running.store.read_all())

    assert [event.event_type for event in events] == [
        "account.v1.AccountOpenedEvent",
        "account.v1.MoneyDepositedEvent",
    ]


def test_the_command_is_caused_by_the_event_and_keeps_its_correlation_tenant_and_principal(
    bank: SimpleNamespace,
) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        opened = open_account(bank, running)
        running.react(reaction, opened)
        deposited = list(running.store.read_all())[-1]

    assert deposited.metadata.causation_id == opened.event_id
    assert deposited.metadata.correlation_id == "corr"
    assert deposited.metadata.principal_id == "alice"
    assert deposited.tenant == "acme"


def test_a_reaction_can_act_in_its_own_name(bank: SimpleNamespace) -> None:
    reaction = bonus_on_opening(bank, principal_id="reaction:bonus")

    with app_with(bank, reaction).open("memory://") as running:
        running.react(reaction, open_account(bank, running))
        deposited = list(running.store.read_all())[-1]

    assert deposited.metadata.principal_id == "reaction:bonus"


def test_two_commands_of_one_type_need_a_key_each(bank: SimpleNamespace) -> None:
    reaction = Reaction("twice", start="first")

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        deposit = bank.pb.DepositCommand(account_id=event.account_id, amount="1.00")
        context.execute(deposit)
        context.execute(deposit, key="second")
        with pytest.raises(InvalidArgument, match="twice for one event"):
            context.execute(deposit)

    with app_with(bank, reaction).open("memory://") as running:
        event = open_account(bank, running)
        running.react(reaction, event)
        running.react(reaction, event)

        assert len(list(running.store.read_all())) == 3


def test_an_old_event_is_reacted_to_in_its_current_form(bank: SimpleNamespace) -> None:
    reaction = bonus_on_opening(bank)
    app = app_with(bank, reaction)

    types = reaction.subscription(app.upcasters).event_types

    assert set(types) == {"account.v1.AccountOpenedEvent", "account.v1.AccountOpenedEventV1"}


def test_nothing_is_done_about_an_erased_event(bank: SimpleNamespace) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        opened = open_account(bank, running)
        erase(
            running.store.for_tenant(opened.tenant),
            [opened.stream],
            reason="asked for",
            erased_by="ann",
        )
        erased = running.store.find_event(opened.global_position)
        running.react(reaction, erased)
        head = running.store.head_position()

    assert erased.erased
    assert head == opened.global_position


def set_aside_by(bank: SimpleNamespace, reaction: Reaction) -> Any:
    """The one dead letter of a reaction to the opening of an account."""

    async def run(running: RunningApp) -> list[Any]:
        bus = memory_bus(running.store)
        subscriber = await bus.subscribe(
            reaction.subscription(), lambda event: running.react(reaction, event)
        )
        letters: list[Any] = []
        async with asyncio.timeout(10):
            while not letters:
                await asyncio.sleep(0.01)
                letters = await bus.dead_letters.waiting(reaction.name)
        await subscriber.stop()
        return letters

    with app_with(bank, reaction).open("memory://") as running:
        open_account(bank, running)
        (letter,) = asyncio.run(run(running))
    return letter


def test_a_rejected_command_is_a_verdict_and_sets_the_event_aside_at_once(
    bank: SimpleNamespace,
) -> None:
    reaction = Reaction("hopeless", start="first", max_deliveries=9, backoff=[60.0])
    tried: list[str] = []

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        tried.append(event.account_id)
        context.execute(bank.pb.WithdrawCommand(account_id=event.account_id, amount="99.00"))

    letter = set_aside_by(bank, reaction)

    assert tried == ["acc-1"]
    assert "INSUFFICIENT_FUNDS" in letter.error
    assert letter.deliveries == 1


def test_a_handler_can_have_a_rejected_command_tried_again(bank: SimpleNamespace) -> None:
    reaction = Reaction("patient", start="first", max_deliveries=3, backoff=[0.01])
    tried: list[str] = []

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        tried.append(event.account_id)
        try:
            context.execute(bank.pb.WithdrawCommand(account_id=event.account_id, amount="99.00"))
        except CommandRejected as rejection:
            raise RuntimeError("there may be money later") from rejection

    letter = set_aside_by(bank, reaction)

    assert tried == ["acc-1"] * 3
    assert letter.error == "RuntimeError: there may be money later"


@asynccontextmanager
async def at_work(
    running: RunningApp, reaction: Reaction, count: int = 1
) -> AsyncIterator[list[ReactionService]]:
    """A reaction in as many processes as it were, without any broker."""
    services = [
        ReactionService(reaction, running, running.store, upcasters=running.app.upcasters)
        for _ in range(count)
    ]
    for service in services:
        await service.start()
    try:
        yield services
    finally:
        for service in services:
            await service.stop()


async def reach(running: RunningApp, position: int) -> None:
    """Return once the log is that long."""
    async with asyncio.timeout(30):
        while running.store.head_position() < position:  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.01)


async def passed(running: RunningApp, name: str, position: int) -> None:
    """Return once the follower has passed a position."""
    async with asyncio.timeout(30):
        while load_state(running.store, name)[0].low < position:  # noqa: ASYNC110 - by a task
            await asyncio.sleep(0.01)


@pytest.mark.promise("reactions-keep-their-position")
async def test_reactions_need_no_broker_and_a_second_process_stands_by(
    bank: SimpleNamespace,
) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        async with at_work(running, reaction, 2) as services:
            await asyncio.to_thread(open_account, bank, running)
            await reach(running, 2)
            states = {service.describe() for service in services}
            await services[0].stop()
            await asyncio.to_thread(open_account, bank, running, "acc-2")
            await reach(running, 4)
            await passed(running, "bonus", 4)
        events = list(running.store.read_all())

    assert states == {"running", "standby"}
    assert len(events) == 4


@pytest.mark.promise("reactions-keep-their-position")
async def test_a_reaction_keeps_its_place_with_the_log(
    bank: SimpleNamespace, tmp_path: Path
) -> None:
    """Whoever has the store has it, however long command ids are remembered."""
    reaction, seen = Reaction("audit", start="first"), []

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        seen.append(event.account_id)

    for name in ("acc-1", "acc-2"):
        with app_with(bank, reaction).open(f"sqlite:///{tmp_path}/bank.db") as running:
            async with at_work(running, reaction):
                head = await asyncio.to_thread(open_account, bank, running, name)
                await passed(running, "audit", head.global_position)

    assert seen == ["acc-1", "acc-2"]


async def test_a_new_reaction_reacts_only_to_what_comes_then(bank: SimpleNamespace) -> None:
    """Also to what is recorded while nobody serves, once it has begun."""
    reaction, seen = Reaction("audit", start="new"), []

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        seen.append(event.account_id)

    with app_with(bank, reaction).open("memory://") as running:
        open_account(bank, running, "before")
        async with at_work(running, reaction):
            await passed(running, "audit", 1)
        open_account(bank, running, "meanwhile")
        async with at_work(running, reaction):
            await passed(running, "audit", 2)

    assert seen == ["meanwhile"]


async def test_a_paused_reaction_waits_and_says_so(bank: SimpleNamespace) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        store, subscription = running.store, reaction.subscription(running.app.upcasters)
        pause(store, "bonus", reason="wrong amount", by="ann", clock=SYSTEM_CLOCK)
        async with at_work(running, reaction) as (service,):
            await asyncio.to_thread(open_account, bank, running)
            async with asyncio.timeout(30):
                while service.describe() != "paused":  # noqa: ASYNC110 - by a task
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            paused = followers.load_status(store, subscription)
            with pytest.raises(InvalidArgument, match="paused already: wrong amount"):
                pause(store, "bonus", reason="too", by="bob", clock=SYSTEM_CLOCK)
            with pytest.raises(InvalidArgument, match="needs a reason"):
                resume(store, "bonus", reason=" ", by="bob", clock=SYSTEM_CLOCK)
            resume(store, "bonus", reason="right now", by="bob", clock=SYSTEM_CLOCK)
            await reach(running, 2)
        with pytest.raises(NotFound, match="is not paused"):
            resume(store, "bonus", reason="again", by="bob", clock=SYSTEM_CLOCK)
        (kept,) = list_pauses(store, "bonus")

    assert (paused.state, paused.pause, paused.lag, paused.head) == ("paused", "wrong amount", 1, 1)
    assert (kept["reason"], kept["by"]) == ("wrong amount", "ann")
    assert (kept["resumed"]["reason"], kept["resumed"]["by"]) == ("right now", "bob")


async def test_a_hanging_reaction_is_seen_and_ends_all_the_same(
    bank: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "STOP_WITHIN", 0.1)
    monkeypatch.setattr(follower_status, "SLOW_AFTER", 0.0)
    reaction, never = Reaction("hangs", start="first"), threading.Event()

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        never.wait(60)

    with app_with(bank, reaction).open("memory://") as running:
        open_account(bank, running)
        async with at_work(running, reaction) as (service,), asyncio.timeout(30):
            while True:
                try:
                    await service.check_health()
                except ServiceError as error:
                    told = str(error)
                    break
                await asyncio.sleep(0.01)
            status = followers.load_status(
                running.store, reaction.subscription(running.app.upcasters)
            )
        left = load_state(running.store, "hangs")[0]
        never.set()

    assert "has been handling 1 for" in told
    assert (status.state, [each.position for each in status.in_flight]) == ("failed", [1])
    assert left.unhandled == {1: 0}


async def test_a_reaction_that_tries_again_is_not_well(bank: SimpleNamespace) -> None:
    reaction = Reaction("fails", start="first", backoff=(3_600.0,))

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        raise RuntimeError("no")

    with app_with(bank, reaction).open("memory://") as running:
        open_account(bank, running)
        subscription = reaction.subscription(running.app.upcasters)
        async with at_work(running, reaction) as (service,), asyncio.timeout(30):
            while not (  # noqa: ASYNC110 - by a task
                status := followers.load_status(running.store, subscription)
            ).error:
                await asyncio.sleep(0.01)
            with pytest.raises(ServiceError, match=r"trying again to handle 1: .*no"):
                await service.check_health()

    assert (status.state, status.lag, status.set_aside) == ("failed", 1, 0)


async def test_a_reaction_that_sets_events_aside_is_not_well(bank: SimpleNamespace) -> None:
    reaction = Reaction("fails", start="first", max_deliveries=1)

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        raise RuntimeError("no")

    with app_with(bank, reaction).open("memory://") as running:
        open_account(bank, running)
        async with at_work(running, reaction) as (service,):
            await passed(running, "fails", 1)
            with pytest.raises(ServiceError, match="1 dead letter, the first at 1"):
                await service.check_health()
        status = followers.load_status(running.store, reaction.subscription(running.app.upcasters))

    assert (status.state, status.set_aside, status.lag) == ("failed", 1, 0)


@pytest.mark.promise("backups-are-one-moment")
async def test_a_backup_has_the_place_of_a_reaction(bank: SimpleNamespace, tmp_path: Path) -> None:
    """What came after it is lost with its commands: what comes then is reacted to, once."""
    reaction = bonus_on_opening(bank)
    app = app_with(bank, reaction)
    with app.open(f"sqlite:///{tmp_path}/bank.db") as running:
        async with at_work(running, reaction):
            await asyncio.to_thread(open_account, bank, running)
            await passed(running, "bonus", 2)
        back_up(running.store, tmp_path / "copy.db", progress=no_progress)

    with app.open(f"sqlite:///{tmp_path}/copy.db") as running:
        async with at_work(running, reaction):
            await asyncio.to_thread(open_account, bank, running, "acc-2")
            await passed(running, "bonus", 4)
        events = list(running.store.read_all())

    assert [event.stream for event in events] == ["Account-acc-1"] * 2 + ["Account-acc-2"] * 2


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ({"position": 1, "event_id": "another"}, "another event is at 1"),
        ({"position": 9, "event_id": "x"}, "the log ends at 1, it had been read to 9"),
        ({"position": 1, "store_id": "another"}, "it was the log of store another"),
    ],
)
@pytest.mark.promise("reactions-keep-their-position")
async def test_a_reaction_does_not_go_on_in_another_log(
    bank: SimpleNamespace, place: dict[str, Any], problem: str
) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        store = running.store
        open_account(bank, running)
        progress = SubscriptionState(**{"store_id": store.store_id, **place})
        save_state(store, "bonus", progress, revision=0)
        async with at_work(running, reaction) as (service,):
            with pytest.raises(CheckpointMismatch, match=problem):
                await service.wait()
        status = followers.load_status(store, reaction.subscription(running.app.upcasters))

    assert status.state == "failed"
    assert problem in status.error
    assert status.head == 1


@pytest.mark.promise("reactions-act-once")
async def test_no_request_can_name_the_id_that_a_reaction_gives_its_command(
    bank: SimpleNamespace,
) -> None:
    """Or somebody could use it up, and the reaction's command would never be carried out."""
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        opened = open_account(bank, running)
        running.react(reaction, opened)
        command_id = list(running.store.read_all())[-1].metadata.command_id
        with pytest.raises(InvalidArgument, match="only a reaction may give"):
            CallOptions(command_id=command_id)
        with pytest.raises(InvalidArgument, match="only a reaction may give"):
            running.execute(
                bank.pb.DepositCommand(account_id="acc-1", amount="1.00"), command_id=command_id
            )

    assert command_id.startswith("reaction:bonus:")


def react_as_before(bank: SimpleNamespace, running: RunningApp, opened: Any) -> None:
    """What an earlier eskit did on the event: its command had a derived id like any other."""
    command = bank.pb.DepositCommand(account_id="acc-1", amount="5.00")
    options = CallOptions(
        command_id=derived_id(
            "reaction", "bonus", opened.event_id, "account.v1.DepositCommand", ""
        ),
        tenant="acme",
    )
    running.execute(command, options=options)


@pytest.mark.parametrize("known", [True, False])
async def test_a_command_of_before_counts_as_sent_where_an_earlier_eskit_may_have_reacted(
    bank: SimpleNamespace, *, known: bool
) -> None:
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        opened = open_account(bank, running)
        if known:
            running.store.save_record(
                "earlier", "reactions", '{"position": 1}', expected_revision=0
            )
        react_as_before(bank, running, opened)
        running.react(reaction, opened)
        events = list(running.store.read_all())

    assert len(events) == (2 if known else 3)


async def test_a_reset_says_what_it_repeats_and_which_commands_are_forgotten(
    bank: SimpleNamespace,
) -> None:
    reaction, clock = bonus_on_opening(bank), SettableClock()
    app = app_with(bank, reaction)

    with memory_store(clock=clock) as store, app.open(store) as running:
        subscription = reaction.subscription(app.upcasters)
        async with at_work(running, reaction):
            await asyncio.to_thread(open_account, bank, running)
            await asyncio.to_thread(open_account, bank, running, "acc-2")
            await passed(running, "bonus", 4)
        remembered = followers.plan_reset(store, subscription, 0)
        pass_days(store, clock, 8)
        prune_commands(store)
        forgotten = followers.plan_reset(store, subscription, 0)
        forward = followers.plan_reset(store, subscription, 4)
        with pytest.raises(InvalidArgument, match="The log ends at 4"):
            followers.plan_reset(store, subscription, 5)
        with pytest.raises(InvalidArgument, match="2 commands of bonus would be carried out twice"):
            followers.reset(store, subscription, 0, again=False)  # it was planned before
        followers.reset(store, subscription, 2)
        moved = followers.load_status(store, subscription)

    assert (remembered.before, remembered.again, remembered.forgotten) == (4, 2, 0)
    assert (forgotten.again, forgotten.forgotten) == (2, 2)
    assert (forward.again, forward.skipped, forward.forgotten) == (0, 0, 0)
    assert (moved.position, moved.state) == (2, "idle")


class PrunesFirst:
    """A store whose commands somebody prunes right before anything is kept about a follower."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def save_record(self, kind: str, key: str, value: str, *, expected_revision: int) -> int:
        prune_commands(self._store)
        return self._store.save_record(kind, key, value, expected_revision=expected_revision)


@pytest.mark.promise("reactions-keep-their-position")
async def test_commands_that_are_forgotten_during_a_reset_count_as_well(
    bank: SimpleNamespace,
) -> None:
    reaction, clock = bonus_on_opening(bank), SettableClock()
    app = app_with(bank, reaction)

    with memory_store(clock=clock) as store, app.open(store) as running:
        subscription = reaction.subscription(app.upcasters)
        async with at_work(running, reaction):
            await asyncio.to_thread(open_account, bank, running)
            await passed(running, "bonus", 2)
        pass_days(store, clock, 8)
        before = followers.load_status(store, subscription)
        with pytest.raises(InvalidArgument, match="would be carried out twice"):
            followers.reset(PrunesFirst(store), subscription, 0, again=False)  # type: ignore[arg-type]
        refused = followers.load_status(store, subscription)
        kept = store.find_record(FOLLOWER, "bonus")

    assert (refused.position, refused.state) == (before.position, "idle") == (2, "idle")
    assert kept is not None
    assert json.loads(kept.value)["low"] == 2


@pytest.mark.promise("reactions-keep-their-position")
async def test_a_lost_place_asks_and_does_not_begin(bank: SimpleNamespace) -> None:
    """Garbage in place of its progress, and a log of before whose broker has nothing."""
    reaction = bonus_on_opening(bank)

    with app_with(bank, reaction).open("memory://") as running:
        store, subscription = running.store, reaction.subscription(running.app.upcasters)
        open_account(bank, running)
        store.save_record("earlier", "reactions", '{"position": 1}', expected_revision=0)
        async with at_work(running, reaction) as (service,):
            with pytest.raises(PlaceLost, match="kept in NATS") as unknown:
                await service.wait()
        before = followers.load_status(store, subscription)
        followers.reset(store, subscription, 1)
        store.save_record("follower", "bonus", '{"low": "x"}', expected_revision=1)
        async with at_work(running, reaction) as (service,):
            with pytest.raises(PlaceLost, match="cannot be read"):
                await service.wait()
        garbled = followers.load_status(store, subscription)
        followers.reset(store, subscription, 1)
        async with at_work(running, reaction):
            await asyncio.to_thread(open_account, bank, running, "acc-2")
            await passed(running, "bonus", 2)
        events = list(store.read_all())

    assert "eskit reaction reset bonus --after" in unknown.value.hint
    assert (before.state, garbled.state) == ("failed", "failed")
    assert [event.stream for event in events] == ["Account-acc-1", *["Account-acc-2"] * 2]


def test_what_cannot_work_is_refused(bank: SimpleNamespace) -> None:
    reaction = bonus_on_opening(bank)

    async def wrong(event: Any, context: Any) -> None: ...

    with pytest.raises(
        ProjectError, check=coded("PROJECT_INVALID"), match="More than one reaction 'bonus'"
    ):
        app_with(bank, reaction, reaction)
    with pytest.raises(
        ProjectError,
        check=coded("PROJECT_INVALID"),
        match="More than one projection or reaction 'bonus'",
    ):
        App("bank", projections=[Projection("bonus")], reactions=[reaction])
    with pytest.raises(InvalidArgument, match="two handlers"):
        reaction.on(bank.pb.AccountOpenedEvent)(lambda _event, _context: None)
    with pytest.raises(InvalidArgument, match="coroutine function"):
        reaction.on(StringValue)(wrong)
    with pytest.raises(InvalidArgument, match="needs an event type"):
        reaction.on()
    with pytest.raises(InvalidArgument, match="handles no event"):
        Reaction("nothing", start="new").subscription()


def test_a_rejection_reaches_the_handler(bank: SimpleNamespace) -> None:
    reaction = Reaction("careful", start="first")
    caught: list[str] = []

    @reaction.on(bank.pb.AccountOpenedEvent)
    def opened(event: Any, context: Any) -> None:
        try:
            context.execute(bank.pb.WithdrawCommand(account_id=event.account_id, amount="99.00"))
        except CommandRejected as rejection:
            caught.append(rejection.rejection)

    with app_with(bank, reaction).open("memory://") as running:
        running.react(reaction, open_account(bank, running))

    assert caught == ["INSUFFICIENT_FUNDS"]
