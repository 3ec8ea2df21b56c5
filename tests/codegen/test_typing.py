"""What is generated satisfies mypy's strict mode and the formatter, in one run over all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.codegen.shapes import SHAPES
from tests.support.trees import EXAMPLES, generate_example, generate_into

USES = '''\
"""Code as a user writes it over the generated bank."""

from typing import Any

from google.protobuf.message import Message
from typing_extensions import assert_type

from eskit.cqrs.clients import Transport
from eskit.cqrs.contexts import QueryContext
from eskit.cqrs.services import ServiceBinding
from eskit.projections.projection import EventContext, Projection
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.store.repository import Repository
from eskit.testing import given
from kinds_project.gen.kinds.v1 import kinds_pb2
from names_project.gen.names.v1 import names_pb2

from bank.gen.account.v1 import account_es, account_pb2
from bank.gen.sdk import BankSdk


class Account(account_es.AccountAggregate):
    def open_account(
        self, command: account_pb2.OpenAccountCommand
    ) -> account_pb2.OpenAccountResponse:
        self.emit(account_pb2.AccountOpenedEvent(account_id=self.id))
        return account_pb2.OpenAccountResponse(account_id=self.id, version=self.version)

    def deposit(self, command: account_pb2.DepositCommand) -> account_pb2.DepositResponse:
        return account_pb2.DepositResponse(new_balance=self.state.balance)

    def withdraw(self, command: account_pb2.WithdrawCommand) -> account_pb2.WithdrawResponse:
        return account_pb2.WithdrawResponse()

    def close_account(
        self, command: account_pb2.CloseAccountCommand
    ) -> account_pb2.CloseAccountResponse:
        return account_pb2.CloseAccountResponse()

    def on_account_opened(self, event: account_pb2.AccountOpenedEvent) -> None:
        self.state.status = account_pb2.ACCOUNT_STATUS_OPEN

    def on_money_deposited(self, event: account_pb2.MoneyDepositedEvent) -> None: ...
    def on_money_withdrawn(self, event: account_pb2.MoneyWithdrawnEvent) -> None: ...
    def on_account_closed(self, event: account_pb2.AccountClosedEvent) -> None: ...


class Queries(account_es.AccountQueryHandler):
    def get_account(
        self, request: account_pb2.GetAccountRequest, context: QueryContext
    ) -> account_pb2.AccountView:
        return account_pb2.AccountView(status="ACCOUNT_STATUS_OPEN")

    def list_accounts(
        self, request: account_pb2.ListAccountsRequest, context: QueryContext
    ) -> account_pb2.ListAccountsResponse:
        return account_pb2.ListAccountsResponse(accounts=[{"account_id": "a"}])

    def get_account_balance(
        self, request: account_pb2.GetAccountBalanceRequest, context: QueryContext
    ) -> account_pb2.AccountBalanceView:
        return account_pb2.AccountBalanceView()

    def get_account_history(
        self, request: account_pb2.GetAccountHistoryRequest, context: QueryContext
    ) -> account_pb2.AccountHistoryView:
        return account_pb2.AccountHistoryView()


balances = Projection("balances")


@balances.on(account_pb2.AccountOpenedEvent)
def opened(event: account_pb2.AccountOpenedEvent, context: EventContext) -> None: ...


@balances.on(account_pb2.MoneyDepositedEvent, account_pb2.MoneyWithdrawnEvent)
def moved(
    event: account_pb2.MoneyDepositedEvent | account_pb2.MoneyWithdrawnEvent,
    context: EventContext,
) -> None: ...


def keep(store: EventStore) -> None:
    accounts = Repository(store, Account)
    assert_type(accounts.load("a"), Account)
    assert_type(accounts.find("a"), Account | None)
    accounts.save(accounts.load("a"))


async def use(transport: Transport) -> None:
    sdk = BankSdk(transport)
    answer = await sdk.account.open_account(account_pb2.OpenAccountCommand(account_id="a"))
    assert_type(answer, account_pb2.OpenAccountResponse)
    assert_type(Account("a").state, account_pb2.Account)
    assert_type(account_es.EVENTS, tuple[type[Message], ...])
    assert_type(account_es.register_account_query_service(Queries()), ServiceBinding)
    kinds = kinds_pb2.Kinds(colour=kinds_pb2.Kinds.COLOUR_RED, counts={"a": 1}, maybe="x")
    assert_type(kinds.counts["a"], int)
    assert_type(kinds.by_number[1], kinds_pb2.Kinds.Inner)
    assert_type(kinds.colours[0], kinds_pb2.Kinds.Colour.ValueType)
    assert_type(kinds.HasField("maybe"), bool)
    kinds.inners.add(text="x")
    keywords: dict[str, Any] = {"from": "x"}
    names_pb2.Names(list=["a"], **keywords)
'''
MISUSES = {
    'account_pb2.Account(account="x")': "call-arg",
    "account_pb2.Account(account_id=1)": "arg-type",
    'account_pb2.Account().status = "x"': "assignment",
    'account_pb2.Account().HasField("account_id", 1)': "call-arg",
    'kinds_pb2.Kinds().HasField("a_bool")': "arg-type",
    "kinds_pb2.Kinds().inner = kinds_pb2.Kinds.Inner()": "misc",
    "account_es.AccountQueryHandler()": "misc",
    'account_es.AccountAggregate("x")': "abstract",
    "given(account_es.AccountAggregate)": "type-abstract",
    'Account("x").emit(account_pb2.DepositCommand())': "arg-type",
    "balances.on(account_pb2.AccountClosedEvent)(moved)": "arg-type",
    'Account("x").emit(account_pb2.AccountOpenedEventV1())': "arg-type",
    'Repository(open_store("memory://"), Account).save(Queries())': "arg-type",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every example and shape as a package of its own, side by side."""
    folder = tmp_path_factory.mktemp("typed")
    for example in EXAMPLES:
        generate_example(example, folder / example)
    for name, protos in SHAPES.items():
        sources = tmp_path_factory.mktemp(name)
        generate_into(sources / f"{name}_project", protos)
        (sources / f"{name}_project").rename(folder / f"{name}_project")
    return folder


def run(tool: str, *arguments: str, folder: Path) -> str:
    """What a tool says about the folder; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_code_and_code_that_uses_it_is_strictly_typed(packages):
    misuses = "".join(
        f"{line}  # type: ignore[{code}]\n" for line, code in MISUSES.items()
    )  # strict mode reports an ignore that nothing needs
    (packages / "uses.py").write_text(f"{USES}\n\n{misuses}")

    run("mypy", "--strict", "--cache-dir", str(packages / ".cache"), ".", folder=packages)


def test_generated_code_is_as_formatters_want_it(packages):
    run("ruff", "format", "--check", "--isolated", "--exclude=uses.py", ".", folder=packages)
    run("ruff", "format", "--check", "--isolated", "--line-length=120", *EXAMPLES, folder=packages)


def test_generated_imports_are_sorted_and_used(packages):
    run(
        *("ruff", "check", "--isolated", "--ignore-noqa", "--select=F,I,RUF100,UP,W"),
        *("--exclude=*_pb2.py,*_pb2.pyi,crosswise_project,uses.py", "."),
        folder=packages,
    )


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright comes with eskit[dev]")
def test_generated_code_satisfies_pyright_in_strict_mode(packages):
    projects = [f"{name}_project" for name in SHAPES]
    settings = {"typeCheckingMode": "strict", "include": [*EXAMPLES, *projects]}
    (packages / "pyrightconfig.json").write_text(json.dumps(settings))

    run("pyright", "--pythonpath", sys.executable, folder=packages)
