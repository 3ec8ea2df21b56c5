"""Command services written by hand: one append with the response, remembered by command id."""

from __future__ import annotations

from typing import Any

import pytest

from eskit.app import App
from eskit.cqrs.contexts import CommandContext
from eskit.cqrs.options import CallOptions
from eskit.cqrs.services import bind
from eskit.domain.services import ServiceType
from eskit.errors import CommandIdReused, InvalidArgument


class Front:
    """Answers the bank's command service by loading and appending by hand."""

    def __init__(self, bank: Any) -> None:
        self.bank = bank
        self.calls = 0

    def open_account(self, command: Any, context: CommandContext) -> Any:
        self.calls += 1
        account = context.load(self.bank.Account, command.account_id)
        response = account.open_account(command)
        context.append(account)
        return response

    def deposit(self, command: Any, context: CommandContext) -> Any:
        first = context.load(self.bank.Account, command.account_id)
        second = context.load(self.bank.Account, "another")
        context.append(first)
        context.append(second)

    def withdraw(self, command: Any, context: CommandContext) -> Any:
        return self.bank.pb.DepositResponse()

    def close_account(self, command: Any, context: CommandContext) -> Any:
        return self.bank.pb.CloseAccountResponse()


@pytest.fixture
def service(bank: Any) -> ServiceType:
    return ServiceType(
        name="account.v1.AccountCommandService",
        methods=bank.Account.__aggregate__.commands,
    )


def command(bank: Any) -> Any:
    return bank.pb.OpenAccountCommand(account_id="a", owner_name="A", initial_balance="1")


def test_what_a_handler_appends_is_stored_with_its_context(bank: Any, service: ServiceType) -> None:
    app = App("front", services=[bind(service, Front(bank))])

    with app.open("memory://") as running:
        running.execute(command(bank), options=CallOptions(command_id="c-1", principal_id="p"))

        [event] = running.store.read_stream("Account-a")
    assert (event.metadata.command_id, event.metadata.principal_id) == ("c-1", "p")


def test_a_resend_does_not_call_the_handler_again(bank: Any, service: ServiceType) -> None:
    front = Front(bank)
    app = App("front", services=[bind(service, front)])

    with app.open("memory://") as running:
        first = running.execute(command(bank), command_id="c-1")
        again = running.execute(command(bank), command_id="c-1")
        with pytest.raises(CommandIdReused):
            running.execute(
                bank.pb.OpenAccountCommand(account_id="b", owner_name="B"), command_id="c-1"
            )

    assert again == first
    assert front.calls == 1


def test_a_handler_appends_to_one_stream_only(bank: Any, service: ServiceType) -> None:
    app = App("front", services=[bind(service, Front(bank))])

    with app.open("memory://") as running, pytest.raises(InvalidArgument, match="one stream"):
        running.execute(bank.pb.DepositCommand(account_id="a", amount="1"))


def test_a_handler_that_lacks_a_method_is_refused_when_bound(service: ServiceType) -> None:
    with pytest.raises(InvalidArgument, match="has no method open_account"):
        bind(service, object())
