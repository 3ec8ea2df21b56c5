"""Commands and queries over gRPC, as clients that know nothing of eskit see them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from eskit.app import App
from eskit.cqrs.grpc.services import GrpcServices
from eskit.cqrs.grpc.transport import GrpcTransport
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.requests import Requests
from eskit.domain.services import Method, ServiceType
from eskit.errors import (
    BrokerUnavailable,
    ClaimTaken,
    CommandIdReused,
    CommandRejected,
    InvalidArgument,
    RequestTimeout,
    ServiceError,
    StoreUnavailable,
    VersionConflict,
)
from eskit.schema.response_pb2 import AppError
from tests.support.answering import FakeApp

Code = grpc.StatusCode
ECHO = Method(
    service="echo.v1.Echo",
    name="Say",
    python_name="say",
    kind="command",
    request=StringValue,
    response=StringValue,
)
ASK = ECHO._replace(name="Ask", python_name="ask", kind="query")
SERVICES = [ServiceType(name="echo.v1.Echo", methods=(ECHO, ASK))]


@asynccontextmanager
async def serving(app: Any, services: Any = SERVICES, **options: Any) -> AsyncIterator[Any]:
    """An app served over gRPC, and a channel to it."""
    served = GrpcServices(Requests(app, **options), services, app_name="echo")
    await served.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        try:
            yield SimpleNamespace(served=served, channel=channel)
        finally:
            await served.stop(0.5)


def call(served: Any, method: Method, data: bytes = b"", **options: Any) -> Any:
    return served.channel.unary_unary(f"/{method.path}")(data, **options)


async def failure(answer: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return caught.value


def details(error: grpc.aio.AioRpcError) -> tuple[ErrorInfo, AppError]:
    metadata = dict(error.trailing_metadata())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    info, told = ErrorInfo(), AppError()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(told)
    return info, told


async def test_an_rpc_answers_with_its_own_response_and_says_how_far_the_log_is() -> None:
    app = FakeApp(lambda request: StringValue(value=f"{request.value}!"))
    async with serving(app) as served:
        answer = call(served, ECHO, StringValue(value="hello").SerializeToString())

        assert StringValue.FromString(await answer).value == "hello!"
        assert dict(await answer.trailing_metadata())["global-position"] == "7"


async def test_metadata_says_what_headers_say_over_nats() -> None:
    app = FakeApp()
    async with serving(app) as served:
        metadata = (
            ("command-id", "c-1"),
            ("tenant-id", "acme"),
            ("correlation-id", "M%C3%BCller"),
            ("expected-version", "3"),
            ("at-least-position", "12"),
            ("traceparent", "00-1-2-01"),
        )
        await call(served, ECHO, metadata=metadata, timeout=9)

    ((method, _, options),) = app.calls
    assert method is ECHO
    assert (options.command_id, options.tenant, options.correlation_id) == ("c-1", "acme", "Müller")
    assert (options.expected_version, options.at_least) == (3, 12)
    assert options.traceparent == "00-1-2-01"
    assert 5 < options.timeout < 9


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ((("tenantid", "acme"),), "There is no header tenantid"),
        ((("tenant-id", "a"), ("tenant-id", "b")), "Header tenant-id is there twice, and differs"),
        ((("expected-version", "x"),), "Header Expected-Version is not a number from 0"),
        ((("message-type", "a.B"),), "echo.v1.Echo/Say takes google.protobuf.StringValue"),
        ((("command-id", "x" * 300),), "Header Command-Id has more than 255 characters"),
    ],
)
async def test_metadata_that_would_be_misunderstood_is_refused(metadata: Any, message: str) -> None:
    app = FakeApp()
    async with serving(app) as served:
        error = await failure(call(served, ECHO, metadata=metadata))

    assert (error.code(), error.details()) == (Code.INVALID_ARGUMENT, message)
    assert not app.calls


@pytest.mark.parametrize(
    ("raised", "code", "reason"),
    [
        (CommandRejected("TOO_POOR", "No money"), Code.FAILED_PRECONDITION, "TOO_POOR"),
        (CommandRejected("NOT_FOUND", "Nobody"), Code.NOT_FOUND, "NOT_FOUND"),
        (CommandRejected("VALIDATION_FAILED", "x"), Code.INVALID_ARGUMENT, "VALIDATION_FAILED"),
        (CommandRejected("UNAUTHENTICATED", "x"), Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (CommandRejected("PERMISSION_DENIED", "x"), Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (ClaimTaken("email", "a@b", "Account-1"), Code.ALREADY_EXISTS, "CLAIM_TAKEN"),
        (VersionConflict("Account-1", 1, 2), Code.ABORTED, "VERSION_CONFLICT"),
        (CommandIdReused("c-1", "Account-1"), Code.INVALID_ARGUMENT, "COMMAND_ID_REUSED"),
        (StoreUnavailable("bank.db is away"), Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
        (InvalidArgument("Too short"), Code.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_what_is_raised_has_a_code_and_details(raised: Any, code: Any, reason: str) -> None:
    def refuse(_: Any) -> Any:
        raise raised

    async with serving(FakeApp(refuse)) as served:
        error = await failure(call(served, ECHO))
        info, told = details(error)

        assert (error.code(), info.reason, info.domain) == (code, reason, "echo")
        assert (told.code, told.message) == (reason, error.details())
        with pytest.raises(type(raised)) as caught:
            await GrpcTransport(served.channel).request(ECHO, StringValue(), CallOptions())
        assert caught.value.message == told.message


async def test_of_a_fault_a_caller_learns_an_id_and_nothing_else(caplog: Any) -> None:
    def fail(_: Any) -> Any:
        raise KeyError("secret")

    async with serving(FakeApp(fail)) as served:
        error = await failure(call(served, ECHO))

    assert error.code() is Code.INTERNAL
    assert "secret" not in str(error.trailing_metadata()) + error.details()
    assert error.details().removeprefix("Internal error ") in caplog.text


async def test_an_endless_rejection_arrives_cut() -> None:
    def refuse(_: Any) -> Any:
        raise CommandRejected(
            "NO",
            "n\n" * 50_000,
            solution="s" * 50_000,
            details={f"d{i}": "x" * 500 for i in range(99)},
        )

    async with serving(FakeApp(refuse)) as served:
        error = await failure(call(served, ECHO))

    info, _ = details(error)
    assert (error.code(), info.reason) == (Code.FAILED_PRECONDITION, "NO")


async def test_requests_that_are_none_are_refused() -> None:
    app = FakeApp()
    async with serving(app, max_request=1_000) as served:
        broken = await failure(call(served, ECHO, b"\xff\xff"))
        large = await failure(call(served, ECHO, b"x" * 1_001))
        huge = await failure(call(served, ECHO, b"x" * 10_000_000))
        unknown = await failure(call(served, ECHO._replace(name="Nothing")))
        other = await failure(call(served, ECHO._replace(service="no.Service")))

    assert broken.code() is Code.INVALID_ARGUMENT
    assert large.code() is huge.code() is Code.RESOURCE_EXHAUSTED
    assert unknown.code() is other.code() is Code.UNIMPLEMENTED
    assert not app.calls


async def test_more_requests_than_may_wait_are_turned_away_and_the_rest_is_answered() -> None:
    go = threading.Event()

    def wait(request: Any) -> Any:
        go.wait(30)
        return request

    async with serving(FakeApp(wait), max_concurrent=1, max_waiting=1) as served:
        calls = [asyncio.ensure_future(failure_or(call(served, ECHO))) for _ in range(20)]
        waiting = set(calls)
        while len(waiting) > 2:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        turned_away = [done.result() for done in calls if done.done()]
        go.set()
        answers = await asyncio.gather(*calls)

    assert turned_away == [Code.RESOURCE_EXHAUSTED] * 18
    assert answers.count(None) == 2


async def failure_or(answer: Any) -> grpc.StatusCode | None:
    try:
        await answer
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


async def test_a_call_that_is_given_up_leaves_the_rest_alone() -> None:
    go, begun = threading.Event(), threading.Event()

    def wait(request: Any) -> Any:
        begun.set()
        go.wait(30)
        return request

    app = FakeApp(wait)
    async with serving(app) as served:
        given_up = call(served, ECHO)
        late = asyncio.ensure_future(failure_or(call(served, ECHO, timeout=0.2)))
        await asyncio.to_thread(begun.wait, 10)
        given_up.cancel()

        assert await late is Code.DEADLINE_EXCEEDED
        go.set()
        await call(served, ASK)
        await served.served.check_health()


async def test_a_service_that_stops_answers_what_is_under_way_and_takes_no_more() -> None:
    begun, go = threading.Event(), threading.Event()

    def wait(request: Any) -> Any:
        begun.set()
        go.wait(30)
        return request

    async with serving(FakeApp(wait)) as served:
        under_way = asyncio.ensure_future(failure_or(call(served, ECHO)))
        await asyncio.to_thread(begun.wait, 10)
        stopping = asyncio.ensure_future(served.served.stop(20))
        await asyncio.sleep(0)
        go.set()

        assert await under_way is None
        await stopping
        assert await failure_or(call(served, ECHO)) is Code.UNAVAILABLE


async def test_a_handler_that_outlasts_the_stop_is_answered_for() -> None:
    begun, go = threading.Event(), threading.Event()

    def wait(request: Any) -> Any:
        begun.set()
        go.wait(30)
        return request

    async with serving(FakeApp(wait)) as served:
        under_way = asyncio.ensure_future(failure_or(call(served, ECHO)))
        await asyncio.to_thread(begun.wait, 10)
        await served.served.stop(0.1)
        assert await under_way is Code.DEADLINE_EXCEEDED
        go.set()


async def test_health_is_that_of_the_services() -> None:
    away = False

    class Store(FakeApp):
        def check_store(self) -> None:
            if away:
                raise StoreUnavailable("away")

    def answer(request: Any) -> Any:
        if away:
            raise StoreUnavailable("away")
        return request

    statuses = health_pb2.HealthCheckResponse
    async with serving(Store(answer)) as served:
        health = health_pb2_grpc.HealthStub(served.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == statuses.SERVING
        away = True
        await failure(call(served, ECHO))

        named = health_pb2.HealthCheckRequest(service="echo.v1.Echo")
        assert (await health.Check(named)).status == statuses.NOT_SERVING
        assert (await watch.read()).status == statuses.NOT_SERVING
        away = False
        assert (await watch.read()).status == statuses.SERVING
        unknown = health_pb2.HealthCheckRequest(service="no.Service")
        assert (await failure(health.Check(unknown))).code() is Code.NOT_FOUND
        watch.cancel()


async def test_who_calls_is_found_out_by_the_apps_authenticator() -> None:
    def authenticate(method: Method, headers: Any) -> str:
        if headers.get("authorization") != "Bearer t":
            raise CommandRejected("UNAUTHENTICATED", "Who are you?")
        return "ada"

    app = FakeApp()
    async with serving(app, authenticate=authenticate) as served:
        refused = await failure(call(served, ECHO))
        await call(served, ECHO, metadata=(("authorization", "Bearer t"),))

    assert refused.code() is Code.UNAUTHENTICATED
    ((_, _, options),) = app.calls
    assert options.principal_id == "ada"


async def test_a_port_that_is_taken_is_told() -> None:
    async with serving(FakeApp()) as served:
        second = GrpcServices(Requests(FakeApp()), SERVICES, app_name="x", port=served.served.port)
        with pytest.raises(ServiceError, match="gRPC cannot be served on"):
            await second.start()
        await second.stop()


async def test_a_client_that_finds_nobody_or_waits_too_long_is_told_as_over_nats() -> None:
    async with serving(FakeApp()) as served:
        port = served.served.port
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(BrokerUnavailable, match="No service responds to"):
            await GrpcTransport(channel).request(ECHO, StringValue(), CallOptions(timeout=5))
    go = threading.Event()
    async with serving(FakeApp(lambda request: go.wait(30) and request)) as served:
        with pytest.raises(RequestTimeout, match=r"did not answer within 0.2 s"):
            await GrpcTransport(served.channel).request(
                ECHO, StringValue(), CallOptions(timeout=0.2)
            )
        go.set()


async def test_a_command_that_is_sent_again_is_done_once(bank: Any, tmp_path: Any) -> None:
    app = App("bank", aggregates=[bank.Account], upcasters=bank.upcasters)
    with app.open(f"sqlite:///{tmp_path}/bank.db") as running:
        async with serving(running, app.service_types) as served:
            transport = GrpcTransport(served.channel)
            (method,) = (m for s in app.service_types for m in s.methods if m.name == "OpenAccount")
            command = bank.pb.OpenAccountCommand(
                account_id="a", owner_name="Ada", initial_balance="1.00"
            )
            first = await transport.request(method, command, CallOptions(command_id="c-1"))
            again = await transport.request(method, command, CallOptions(command_id="c-1"))

            assert (first.already_processed, again.already_processed) == (False, True)
            assert again == Reply(
                message=first.message,
                global_position=first.global_position,
                already_processed=True,
            )
            assert running.store.stream_version("Account-a") == 1
