"""Reactions: events that lead to commands, each once however often the event comes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import (
    CallOptions,
    CommandRejected,
    InvalidArgument,
    ProjectInvalid,
    Projection,
    Reaction,
)
from eskit.app import App, RunningApp
from eskit.credentials.nats import connected
from eskit.messaging.bus import memory_bus
from eskit.messaging.nats import StreamSettings, nats_relay
from eskit.runtime import assembly
from eskit.runtime.embedded import EmbeddedNats


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


async def test_reactions_run_over_nats_and_a_second_process_waits_its_turn(
    bank: SimpleNamespace,
) -> None:
    reaction = bonus_on_opening(bank)
    settings = StreamSettings()

    with EmbeddedNats() as server, app_with(bank, reaction).open("memory://") as running:
        broker = assembly.Broker(lambda: server.url)
        await broker.start()
        services = [
            assembly.ReactionOverNats(
                reaction, running, broker, upcasters=running.app.upcasters, settings=settings
            )
            for _ in range(2)
        ]
        for service in services:
            await service.start()
        async with connected(server.url) as connection, asyncio.timeout(30):
            stop = asyncio.Event()
            relay = asyncio.create_task(
                nats_relay(running.store, connection, app_name="bank").run(stop)
            )
            await asyncio.to_thread(open_account, bank, running)
            while running.store.head_position() < 2:  # noqa: ASYNC110 - by a thread
                await asyncio.sleep(0.01)
            stop.set()
            await relay
        for service in services:
            await service.stop()
        await broker.stop()
        events = list(running.store.read_all())

    assert len(events) == 2


def test_what_cannot_work_is_refused(bank: SimpleNamespace) -> None:
    reaction = bonus_on_opening(bank)

    async def wrong(event: Any, context: Any) -> None: ...

    with pytest.raises(ProjectInvalid, match="More than one reaction 'bonus'"):
        app_with(bank, reaction, reaction)
    with pytest.raises(ProjectInvalid, match="More than one projection or reaction 'bonus'"):
        App("bank", projections=[Projection("bonus")], reactions=[reaction])
    with pytest.raises(InvalidArgument, match="two handlers"):
        reaction.on(bank.pb.AccountOpenedEvent)(lambda _event, _context: None)
    with pytest.raises(InvalidArgument, match="coroutine function"):
        reaction.on(StringValue)(wrong)
    with pytest.raises(InvalidArgument, match="names no event"):
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
