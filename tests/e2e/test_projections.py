"""Scenarios: projections of a bank with a second aggregate, from the command line."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.support.running import configure, eskit

SUBSCRIPTION = {
    "state": """
        message Subscription {
          option (eventsourcing.aggregate_root) = {id_field: "subscription_id"};
          string subscription_id = 1;
          string customer = 2;
          string plan = 3;
        }
    """,
    "events": """
        message SubscriptionCreatedEvent {
          option (eventsourcing.event) = {aggregate_name: "Subscription"};
          string subscription_id = 1;
          string customer = 2;
          string plan = 3;
        }
    """,
    "service": """
        service SubscriptionCommandService {
          option (eventsourcing.service) = {aggregate_name: "Subscription"};
          rpc CreateSubscription(CreateSubscriptionCommand) returns (CreateSubscriptionResponse);
        }
        message CreateSubscriptionCommand {
          string subscription_id = 1;
          string customer = 2;
          string plan = 3;
        }
        message CreateSubscriptionResponse { int32 version = 1; }
    """,
}

RULES = '''
"""The rules of Subscription."""

from bank.gen.subscription.v1 import events_pb2, service_pb2, state_es


class Subscription(state_es.SubscriptionAggregate):
    """One subscription."""

    def create_subscription(
        self, command: service_pb2.CreateSubscriptionCommand
    ) -> service_pb2.CreateSubscriptionResponse:
        """Create it."""
        self.emit(
            events_pb2.SubscriptionCreatedEvent(
                subscription_id=self.id, customer=command.customer, plan=command.plan
            )
        )
        return service_pb2.CreateSubscriptionResponse(version=self.version)

    def on_subscription_created(self, event: events_pb2.SubscriptionCreatedEvent) -> None:
        """Keep what it says."""
        self.state.customer, self.state.plan = event.customer, event.plan
'''

PROJECTIONS = '''
"""A story of each customer over both aggregates, and a summary of each account."""

from eskit import EventContext, Projection

from bank.gen.account.v1 import account_pb2 as pb
from bank.gen.subscription.v1 import events_pb2

activity = Projection("customer-activity", migrations="migrations/customer_activity")
summary = Projection("account-summary", migrations="migrations/account_summary")


@activity.on(pb.AccountOpenedEvent)
def opened(event: pb.AccountOpenedEvent, context: EventContext) -> None:
    """Begin the story."""
    context.db.execute(
        "INSERT INTO customer_activity VALUES (?, ?, ?, 'OPEN', 0, 0, '', 'account_opened')",
        (f"customer-{event.owner_name}", event.account_id, event.opening_amount),
    )


@activity.on(pb.MoneyDepositedEvent)
def deposited(event: pb.MoneyDepositedEvent, context: EventContext) -> None:
    """Count it."""
    _moved(context, "deposits", event)


@activity.on(pb.MoneyWithdrawnEvent)
def withdrawn(event: pb.MoneyWithdrawnEvent, context: EventContext) -> None:
    """Count it."""
    _moved(context, "withdrawals", event)


@activity.on(pb.AccountClosedEvent)
def closed(event: pb.AccountClosedEvent, context: EventContext) -> None:
    """End the story."""
    context.db.execute(
        "UPDATE customer_activity SET status = 'CLOSED', last = 'account_closed' WHERE account = ?",
        (event.account_id,),
    )


@activity.on(events_pb2.SubscriptionCreatedEvent)
def subscribed(event: events_pb2.SubscriptionCreatedEvent, context: EventContext) -> None:
    """The other aggregate's part of it."""
    context.db.execute(
        "UPDATE customer_activity SET plan = ?, last = 'subscribed' WHERE customer = ?",
        (event.plan, f"customer-{event.customer}"),
    )


def _moved(
    context: EventContext, what: str, event: pb.MoneyDepositedEvent | pb.MoneyWithdrawnEvent
) -> None:
    context.db.execute(
        f"UPDATE customer_activity SET balance = ?, {what} = {what} + 1, last = ?"
        " WHERE account = ?",
        (event.new_balance, what, event.account_id),
    )


@summary.on(pb.AccountOpenedEvent)
def began(event: pb.AccountOpenedEvent, context: EventContext) -> None:
    """Add the account."""
    context.db["account_summary"].insert(
        {"account": event.account_id, "owner": event.owner_name, "balance": event.opening_amount}
    )


@summary.on(pb.MoneyDepositedEvent, pb.MoneyWithdrawnEvent)
def moved(
    event: pb.MoneyDepositedEvent | pb.MoneyWithdrawnEvent, context: EventContext
) -> None:
    """Set the balance and count it."""
    context.db.execute(
        "UPDATE account_summary SET balance = ?, moves = moves + 1 WHERE account = ?",
        (event.new_balance, event.account_id),
    )


@summary.on(pb.AccountClosedEvent)
def ended(event: pb.AccountClosedEvent, context: EventContext) -> None:
    """Set the status."""
    context.db["account_summary"].update(event.account_id, {"status": "CLOSED"})
'''

MIGRATIONS = {
    "customer_activity": "CREATE TABLE customer_activity (customer TEXT PRIMARY KEY, account TEXT,"
    " balance TEXT, status TEXT, deposits INTEGER, withdrawals INTEGER, plan TEXT, last TEXT);",
    "account_summary": "CREATE TABLE account_summary (account TEXT PRIMARY KEY, owner TEXT,"
    " balance TEXT, status TEXT DEFAULT 'OPEN', moves INTEGER DEFAULT 0);",
}

APP = '''
"""The parts of the service."""

from eskit import App

from bank.customers import activity, summary
from bank.domain.account import Account
from bank.domain.subscription import Subscription
from bank.domain.upcasters import UPCASTERS

app = App(
    "bank",
    aggregates=[Account, Subscription],
    projections=[activity, summary],
    upcasters=UPCASTERS,
)
'''

ACCOUNTS = "account.v1.AccountCommandService"
SUBSCRIPTIONS = "subscription.v1.SubscriptionCommandService"


@pytest.fixture
def project(tmp_path, use_store):
    """A bank with subscriptions, whose proto package lies in three files, and rows in a file."""
    assert eskit("new", "project", "bank", "--template", "bank", cwd=tmp_path).code == 0
    bank = tmp_path / "bank"
    use_store(bank)
    configure(bank, read_models="sqlite:///bank_read.db")
    folder = bank / "proto" / "subscription" / "v1"
    folder.mkdir(parents=True)
    for name, text in SUBSCRIPTION.items():
        head = 'syntax = "proto3";\npackage subscription.v1;\nimport "eventsourcing/options.proto";'
        (folder / f"{name}.proto").write_text(f"{head}\n{text}")
    (bank / "bank" / "domain" / "subscription.py").write_text(RULES)
    (bank / "bank" / "customers.py").write_text(PROJECTIONS)
    (bank / "bank" / "app.py").write_text(APP)
    for name, sql in MIGRATIONS.items():
        migrations = bank / "bank" / "migrations" / name
        migrations.mkdir(parents=True)
        (migrations / "001_rows.sql").write_text(sql)
    generated = eskit("gen", cwd=bank)
    assert generated.code == 0, generated.err
    return bank


def call(project, method, **fields):
    ran = eskit("call", method, "--data", json.dumps(fields), cwd=project)
    assert ran.code == 0, ran.err


def move(project, account, *amounts):
    """Pay in what is above 0, draw what is below."""
    for amount in amounts:
        verb = "Withdraw" if amount.startswith("-") else "Deposit"
        call(project, f"{ACCOUNTS}/{verb}", account_id=account, amount=amount.lstrip("-"))


def rows(project, table):
    connection = sqlite3.connect(project / "bank_read.db")
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    finally:
        connection.close()


def test_one_projection_tells_a_story_over_two_aggregates(project):
    alice = "acc-alice-001"
    opening = {"account_id": alice, "owner_name": "Alice", "initial_balance": "1000.00"}
    call(project, f"{ACCOUNTS}/OpenAccount", **opening)
    subscription = {"subscription_id": "sub-1", "customer": "Alice", "plan": "gold"}
    call(project, f"{SUBSCRIPTIONS}/CreateSubscription", **subscription)
    move(project, alice, "500.00", "-200.00", "700.00")
    call(project, f"{ACCOUNTS}/CloseAccount", account_id=alice)

    ran = eskit("project", "run", "customer-activity", "--once", "--json", cwd=project)

    assert (ran.json["data"][0]["events"], ran.json["data"][0]["position"]) == (6, 6)
    assert rows(project, "customer_activity") == [
        ("customer-Alice", alice, "2000.00", "CLOSED", 2, 1, "gold", "account_closed")
    ]


def test_a_rebuilt_read_model_ends_with_the_rows_it_had(project):
    bob = "acc-bob-001"
    opening = {"account_id": bob, "owner_name": "Bob", "initial_balance": "5000.00"}
    call(project, f"{ACCOUNTS}/OpenAccount", **opening)
    move(project, bob, "1000.00", "-500.00", "2000.00")
    call(project, f"{ACCOUNTS}/CloseAccount", account_id=bob)
    assert eskit("project", "run", "--once", cwd=project).code == 0
    live = rows(project, "account_summary")

    rebuilt = eskit("project", "rebuild", "account-summary", "--json", cwd=project)

    assert live == [(bob, "Bob", "7500.00", "CLOSED", 3)]
    assert rows(project, "account_summary") == live
    assert (rebuilt.json["data"][0]["events"], rebuilt.json["data"][0]["position"]) == (5, 5)


BALANCES = '''
"""The balance of each account."""

from eskit import EventContext, Projection

from bank.gen.account.v1 import account_pb2 as pb

balances = Projection("account-balance", migrations="migrations/balances")


@balances.on(pb.AccountOpenedEvent)
def opened(event: pb.AccountOpenedEvent, context: EventContext) -> None:
    """Add the account."""
    row = {{"account_id": event.account_id, "balance": event.opening_amount{owner}}}
    context.db["account_balance"].insert(row)


@balances.on(pb.MoneyDepositedEvent, pb.MoneyWithdrawnEvent)
def moved(event: pb.MoneyDepositedEvent | pb.MoneyWithdrawnEvent, context: EventContext) -> None:
    """Set the balance."""
    context.db["account_balance"].update(event.account_id, {{"balance": event.new_balance}})
'''
BALANCE_MIGRATIONS = {
    "001_initial_schema": "CREATE TABLE account_balance (account_id TEXT PRIMARY KEY,"
    " balance INTEGER);",
    "002_add_owner_name": "-- eskit: rebuild\nALTER TABLE account_balance ADD COLUMN owner TEXT;",
    "003_add_index": "CREATE INDEX account_balance_by_owner ON account_balance (owner);",
}


def test_a_read_model_grows_by_migrations_and_is_rebuilt_where_they_need_history(project):
    package, migrations = project / "bank", project / "bank" / "migrations" / "balances"
    migrations.mkdir(parents=True)
    app = APP.replace(
        "from bank.customers", "from bank.balances import balances\nfrom bank.customers"
    )
    (package / "app.py").write_text(app.replace("[activity, summary]", "[balances]"))

    def deploy(*names: str, owner: str) -> None:
        (package / "balances.py").write_text(BALANCES.format(owner=owner))
        for name in names:
            (migrations / f"{name}.sql").write_text(BALANCE_MIGRATIONS[name])

    diana = "acc-diana-001"
    deploy("001_initial_schema", owner="")
    opening = {"account_id": diana, "owner_name": "Diana", "initial_balance": "8000.00"}
    call(project, f"{ACCOUNTS}/OpenAccount", **opening)
    move(project, diana, "3000.00")
    assert eskit("project", "run", "--once", cwd=project).code == 0
    first = rows(project, "account_balance")
    move(project, diana, "-1000.00")
    deploy("002_add_owner_name", "003_add_index", owner=', "owner": event.owner_name')
    status = eskit("project", "status", "--json", cwd=project)

    ran = eskit("project", "run", "--once", cwd=project)

    assert first == [(diana, 11000)]
    assert (status.code, status.json["data"][0]["state"]) == (1, "failed")
    assert "002_add_owner_name" in status.json["data"][0]["error"]
    assert ran.code == 0
    assert ran.err.endswith("account-balance needs its history: rebuilding it first\n")
    assert rows(project, "account_balance") == [(diana, 10000, "Diana")]
    applied = [
        (found["number"], found["name"])
        for kind, _, _, value in rows(project, "eskit_records")
        if kind == "migration" and (found := json.loads(value))
    ]
    assert applied == list(enumerate(BALANCE_MIGRATIONS, start=1))
    indexes = "pragma_index_list('account_balance')"
    assert "account_balance_by_owner" in [name for _, name, *_ in rows(project, indexes)]
