"""Queries where there are no rows yet, or nothing to read from: answered all the same."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit import ANY, NewEvent, Projection
from eskit.app import App
from eskit.cqrs.options import CallOptions
from eskit.domain.services import Method, ServiceType
from eskit.errors import CommandRejected, NotFound

ASK = Method(
    service="test.v1.PlainQueryService",
    name="Ask",
    python_name="ask",
    kind="query",
    request=StringValue,
    response=Int64Value,
)


class Plain:
    """Needs no rows."""

    __service__: ClassVar[ServiceType] = ServiceType(name=ASK.service, methods=(ASK,))
    reads: ClassVar[Any] = ()

    def ask(self, request: Any, context: Any) -> Any:
        (one,) = context.db.execute("SELECT 1").fetchone()
        return Int64Value(value=len(request.value) + one)


@pytest.fixture(params=["memory://", "sqlite:///log.db"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param  # noqa: PT022


def test_a_query_on_an_empty_store_is_answered(bank: SimpleNamespace, url: str) -> None:
    ask = bank.pb.GetAccountRequest(account_id="acc-1")

    with bank.app.open(url) as running:
        for options in (CallOptions(), CallOptions(at_least=0)):
            with pytest.raises(CommandRejected) as rejected:
                running.query(ask, options=options)

    assert rejected.value.rejection == "ACCOUNT_NOT_FOUND"


def test_a_query_of_a_projection_that_never_ran_is_answered(bank: SimpleNamespace) -> None:
    ask = bank.pb.GetAccountRequest(account_id="acc-1")

    with bank.app.open("sqlite:///log.db") as running:
        running.execute(
            bank.pb.OpenAccountCommand(account_id="acc-1", owner_name="Ann", initial_balance="1")
        )
        found = running.query(ask, at_least=0)

    assert found.owner_name == "Ann"


def test_a_query_that_reads_no_projection_is_answered(url: str) -> None:
    with App("plain", queries=[Plain]).open(url) as running:
        for _ in range(2):
            assert running.query(StringValue(value="abc")).value == 4


def test_a_query_that_reads_no_projection_waits_for_none(url: str) -> None:
    broken = Projection("broken")
    broken.on(Int64Value)(_fail)
    with App("plain", queries=[Plain], projections=[broken]).open(url) as running:
        running.store.append("Plain-1", [NewEvent(Int64Value(value=1))], expected_version=ANY)

        assert running.query(StringValue(value="abc")).value == 4


def _fail(_event: Any, _context: Any) -> None:
    raise ValueError("no")


def test_a_service_without_a_handler_is_told_of_when_somebody_calls_it(
    bank: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    app = App("bank", aggregates=bank.app.aggregates, upcasters=bank.upcasters)

    with app.open("memory://"):
        pass
    with pytest.raises(NotFound, match="Nothing in the app answers") as unknown:
        app.method("account.v1.AccountQueryService/GetAccount")
    with bank.app.open("memory://"):
        pass

    assert [service.name for service in app.unanswered] == ["account.v1.AccountQueryService"]
    assert not caplog.records
    assert "queries=[…]" in unknown.value.hint
    assert bank.app.unanswered == []
