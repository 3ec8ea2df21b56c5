"""Middleware: one chain for every way in, authorisation that denies by default."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from eskit.app import App, RunningApp
from eskit.cqrs.authorisation import (
    ANYBODY,
    PERMISSION_DENIED,
    TENANT_REQUIRED,
    UNAUTHENTICATED,
    Roles,
    claimed_principal,
    require_tenant,
)
from eskit.cqrs.clients import InProcessTransport
from eskit.cqrs.middleware import Call, Middleware, Passage, log_calls, recover, trace, validate
from eskit.cqrs.nats import NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions, Reply
from eskit.errors import CallFailed, CommandRejected, InvalidArgument
from eskit.nats.connection import connected
from eskit.nats.headers import encode_headers
from eskit.nats.server import EmbeddedNats

COMMANDS = "account.v1.AccountCommandService"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def opened(bank: SimpleNamespace, *middleware: Middleware, **options: Any) -> Iterator[RunningApp]:
    """The bank with middleware, over a store in memory."""
    app = App(
        "bank",
        aggregates=bank.app.aggregates,
        upcasters=bank.upcasters,
        middleware=middleware,
        **options,
    )
    with app.open("memory://") as running:
        yield running


def open_account(bank: SimpleNamespace, account_id: str = "acc-1") -> Any:
    return bank.pb.OpenAccountCommand(
        account_id=account_id, owner_name="Alice", initial_balance="10.00"
    )


def test_the_first_middleware_is_outermost_and_each_sees_call_and_reply(
    bank: SimpleNamespace,
) -> None:
    seen: list[str] = []

    def named(name: str) -> Middleware:
        def layer(call: Call) -> Passage:
            seen.append(f"{name} before {call.method.name}")
            reply = yield call
            seen.append(f"{name} after {reply.global_position}")

        return layer

    with opened(bank, named("outer"), named("inner")) as running:
        running.execute(open_account(bank))

    assert seen == [
        "outer before OpenAccount",
        "inner before OpenAccount",
        "inner after 1",
        "outer after 1",
    ]


def test_a_middleware_can_change_the_call(bank: SimpleNamespace) -> None:
    def as_alice(call: Call) -> Passage:
        yield replace(call, options=replace(call.options, principal_id="alice"))

    with opened(bank, as_alice) as running:
        running.execute(open_account(bank))
        (event,) = running.store.read_all()

    assert event.metadata.principal_id == "alice"


def test_a_middleware_can_answer_itself_and_change_a_reply(bank: SimpleNamespace) -> None:
    def elsewhere(call: Call) -> Passage:
        reply = yield call
        return replace(reply, global_position=reply.global_position + 100)

    def remembered(call: Call) -> Passage:
        if call.options.command_id == "known":
            return Reply(message=bank.pb.OpenAccountResponse(account_id="kept"), global_position=1)
        return (yield call)

    with opened(bank, elsewhere, remembered) as running:
        method = running.app.method(f"{COMMANDS}/OpenAccount")
        kept = running.handle(method, open_account(bank), CallOptions(command_id="known"))
        events = running.store.count_events()
        new = running.handle(method, open_account(bank), CallOptions())

    assert (kept.message.account_id, kept.global_position, events) == ("kept", 101, 0)
    assert new.global_position == 101


def test_a_middleware_can_put_a_reply_in_place_of_an_error_and_the_other_way_round(
    bank: SimpleNamespace,
) -> None:
    def calm(call: Call) -> Passage:
        try:
            yield call
        except LookupError as error:
            return Reply(message=bank.pb.OpenAccountResponse(account_id=str(error)))

    def late(call: Call) -> Passage:
        yield call
        raise LookupError("late")

    with opened(bank, calm, late) as running:
        assert running.execute(open_account(bank)).account_id == "late"
        assert running.store.count_events() == 1


@pytest.mark.parametrize("how", ["twice", "swallows", "nothing"])
def test_a_middleware_that_breaks_the_rules_is_a_fault(bank: SimpleNamespace, how: str) -> None:
    def twice(call: Call) -> Passage:
        yield call
        yield call

    def swallows(call: Call) -> Passage:
        with contextlib.suppress(LookupError):
            yield call

    def nothing(call: Call) -> Passage:
        return
        yield call

    def fail(call: Call) -> Passage:
        yield call
        raise LookupError("lost")

    layers = {"twice": [twice], "swallows": [swallows, fail], "nothing": [nothing]}[how]
    with opened(bank, *layers) as running, pytest.raises(RuntimeError, match=how):
        running.execute(open_account(bank))


@pytest.mark.promise("middleware-sees-every-call")
async def test_one_chain_serves_in_process_and_nats_alike(bank: SimpleNamespace) -> None:
    seen: list[tuple[str, str]] = []

    def note(call: Call) -> Passage:
        seen.append((call.method.name, call.options.command_id))
        yield call

    with EmbeddedNats() as server, opened(bank, note) as running:
        method = running.app.method(f"{COMMANDS}/OpenAccount")
        running.execute(open_account(bank, "one"), command_id="1")
        await InProcessTransport(running).request(
            method, open_account(bank, "two"), CallOptions(command_id="2")
        )
        async with connected(server.url) as connection:
            served = await serve_nats(running, connection, running.app.service_types)
            await NatsTransport(connection).request(
                method, open_account(bank, "three"), CallOptions(command_id="3")
            )
            await served.stop()

    assert seen == [("OpenAccount", "1"), ("OpenAccount", "2"), ("OpenAccount", "3")]


ROLES = {"alice": ["teller"], "bob": ["auditor"]}


def roles(**allow: Any) -> Roles:
    return Roles(
        allow=allow or {f"{COMMANDS}/OpenAccount": ["teller"]},
        of=lambda principal: ROLES.get(principal, []),
    )


@pytest.mark.parametrize(
    ("principal", "method", "code"),
    [
        ("alice", "OpenAccount", ""),
        ("bob", "OpenAccount", PERMISSION_DENIED),
        ("mallory", "OpenAccount", PERMISSION_DENIED),
        ("", "OpenAccount", UNAUTHENTICATED),
        ("alice", "CloseAccount", PERMISSION_DENIED),
        ("", "CloseAccount", UNAUTHENTICATED),
    ],
)
@pytest.mark.promise("middleware-sees-every-call")
def test_what_no_role_allows_is_denied(
    bank: SimpleNamespace, principal: str, method: str, code: str
) -> None:
    messages = {
        "OpenAccount": open_account(bank),
        "CloseAccount": bank.pb.CloseAccountCommand(account_id="acc-1"),
    }

    with opened(bank, roles()) as running:
        answered = ""
        try:
            running.execute(messages[method], options=CallOptions(principal_id=principal))
        except CommandRejected as rejection:
            answered = rejection.rejection
        events = len(list(running.store.read_all()))

    assert answered == code
    assert events == (0 if code else 1)


def test_a_whole_service_can_be_opened_to_anybody(bank: SimpleNamespace) -> None:
    with opened(bank, roles(**{COMMANDS: [ANYBODY]})) as running:
        assert running.execute(open_account(bank)).account_id == "acc-1"


def test_roles_given_as_a_text_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="a text, not a list"):
        Roles(allow={COMMANDS: "teller"}, of=lambda _: [])


async def test_a_claimed_principal_is_not_believed_without_an_authenticator(
    bank: SimpleNamespace,
) -> None:
    def by_token(_method: Any, headers: Any) -> str:
        if headers.get("Authorization") == "Bearer right":
            return "alice"
        raise CommandRejected(UNAUTHENTICATED, "Who are you?")

    with EmbeddedNats() as server, opened(bank, roles(), authenticate=by_token) as running:
        method = running.app.method(f"{COMMANDS}/OpenAccount")
        options = CallOptions(principal_id="alice")
        codes = []
        async with connected(server.url) as connection:
            for hook in ({}, {"authenticate": running.app.authenticate}):
                served = await serve_nats(running, connection, running.app.service_types, **hook)
                with pytest.raises(CommandRejected) as refused:
                    await NatsTransport(connection).request(method, open_account(bank), options)
                codes.append(refused.value.rejection)
                await served.stop()
            served = await serve_nats(
                running, connection, running.app.service_types, authenticate=claimed_principal
            )
            reply = await NatsTransport(connection).request(method, open_account(bank), options)
            await served.stop()

    assert codes == [UNAUTHENTICATED, UNAUTHENTICATED]
    assert reply.global_position == 1


def test_a_tenant_can_be_required_and_bound_to_the_principal(bank: SimpleNamespace) -> None:
    def answer(running: RunningApp, **options: Any) -> str:
        try:
            running.execute(open_account(bank), options=CallOptions(**options))
        except CommandRejected as rejection:
            return rejection.rejection
        return "ok"

    tenants = {"alice": ["acme"]}
    with opened(bank, require_tenant(lambda principal: tenants.get(principal, []))) as running:
        answers = [
            answer(running, principal_id="alice"),
            answer(running, principal_id="alice", tenant="other"),
            answer(running, tenant="acme"),
            answer(running, principal_id="alice", tenant="acme"),
        ]

    assert answers == [TENANT_REQUIRED, PERMISSION_DENIED, PERMISSION_DENIED, "ok"]


def test_validation_rejects_with_every_field_before_the_handler_runs(bank: SimpleNamespace) -> None:
    def check(command: Any) -> dict[str, str]:
        problems = {}
        if not command.owner_name:
            problems["owner_name"] = "is empty"
        if len(command.currency) != 3:
            problems["currency"] = "has three letters"
        return problems

    with opened(bank, validate({bank.pb.OpenAccountCommand: check})) as running:
        with pytest.raises(CommandRejected) as refused:
            running.execute(bank.pb.OpenAccountCommand(account_id="x"))
        stored = list(running.store.read_all())

    assert refused.value.rejection == "VALIDATION_FAILED"
    assert refused.value.details == {"owner_name": "is empty", "currency": "has three letters"}
    assert stored == []


def test_a_fault_reaches_the_caller_as_an_id_that_the_log_explains(
    bank: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(call: Call) -> Passage:
        raise KeyError("SELECT secret FROM passwords")

    with (
        caplog.at_level(logging.ERROR, "eskit.calls"),
        opened(bank, recover, broken) as running,
        pytest.raises(CallFailed) as failed,
    ):
        running.execute(open_account(bank))

    assert failed.value.reason == "INTERNAL_ERROR"
    assert "secret" not in f"{failed.value} {failed.value.hint}"
    assert str(failed.value).rpartition(" ")[2] in caplog.text
    assert "secret" in caplog.text


def test_recovery_leaves_verdicts_alone(bank: SimpleNamespace) -> None:
    with opened(bank, recover) as running:
        running.execute(open_account(bank))
        with pytest.raises(CommandRejected):
            running.execute(bank.pb.WithdrawCommand(account_id="acc-1", amount="99.00"))


def test_each_call_is_logged_with_its_outcome_and_without_its_payload(
    bank: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "eskit.calls"), opened(bank, log_calls) as running:
        running.execute(open_account(bank), command_id="cmd-1")
        running.execute(open_account(bank), command_id="cmd-1")
        with pytest.raises(CommandRejected):
            running.execute(bank.pb.WithdrawCommand(account_id="acc-1", amount="99.00"))

    lines = [one.getMessage() for one in caplog.records if one.name == "eskit.calls"]
    assert lines[0].startswith(f"{COMMANDS}/OpenAccount command=cmd-1 principal=-")
    assert lines[0].endswith(": ok")
    assert lines[1].endswith(": repeated")
    assert "rejected INSUFFICIENT" in lines[2]
    assert "Alice" not in caplog.text


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(TRACE, {"traceparent": TRACE}), ("anything else", {})],
)
def test_the_trace_context_of_a_command_is_kept_with_its_events(
    bank: SimpleNamespace, sent: str, kept: dict[str, str]
) -> None:
    with opened(bank) as running:
        running.execute(open_account(bank), options=CallOptions(traceparent=sent))
        (event,) = running.store.read_all()

    assert event.metadata.custom == kept
    assert encode_headers(event, "/bank/1").get("traceparent") == kept.get("traceparent")


def test_a_span_is_open_while_the_handler_runs(bank: SimpleNamespace) -> None:
    spans: list[str] = []

    @contextmanager
    def span(call: Call) -> Iterator[None]:
        spans.append(f"begin {call.options.traceparent}")
        yield
        spans.append("end")

    with opened(bank, trace(span)) as running:
        running.execute(open_account(bank), options=CallOptions(traceparent="00-abc"))

    assert spans == ["begin 00-abc", "end"]
