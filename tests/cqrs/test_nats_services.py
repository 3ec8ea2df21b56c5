"""Commands and queries over a real nats-server: every request gets an answer, the server lives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import nats
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit.app import App
from eskit.cqrs.authorisation import claimed_principal
from eskit.cqrs.middleware import Call, Middleware, pass_through, recover
from eskit.cqrs.nats import NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.responses import success
from eskit.domain.aggregate import Aggregate, AggregateType, EventMethod
from eskit.domain.services import Method, ServiceType
from eskit.errors import (
    BrokerUnavailable,
    CallFailed,
    CheckpointMismatch,
    CommandRejected,
    EskitError,
    InvalidArgument,
    ProjectError,
    ProjectionError,
    ProjectionFailed,
    ReadModelUnavailable,
    RequestTimeout,
    StoreUnavailable,
    VersionConflict,
)
from eskit.nats.connection import Connection, connected
from eskit.nats.server import EmbeddedNats
from eskit.schema.response_pb2 import Response
from tests.support.answering import FakeApp
from tests.support.coded import coded

TOKEN = "of-the-test"  # noqa: S105 - of servers of the test

ECHO = Method(
    service="test.v1.EchoCommandService",
    name="Echo",
    python_name="echo",
    kind="command",
    request=StringValue,
    response=StringValue,
)
ASK = Method(
    service="test.v1.EchoQueryService",
    name="Ask",
    python_name="ask",
    kind="query",
    request=StringValue,
    response=Int64Value,
)
SERVICES = [
    ServiceType(name=ECHO.service, methods=(ECHO,)),
    ServiceType(name=ASK.service, methods=(ASK,)),
]


async def settle(connection: Connection) -> None:
    """Wait until the server has what was sent: the ping of a flush overtakes what is buffered."""
    await connection.flush()
    await connection.flush()


class Served:
    """An app that answers over NATS, and a client's connection of its own."""

    def __init__(self, app: Any, url: str, **options: Any) -> None:
        self._app, self._url, self._options = app, url, options
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.serving = await self._stack.enter_async_context(connected(self._url))
        services = self._options.pop("services", SERVICES)
        self.server = await serve_nats(self._app, self.serving, services, **self._options)
        self._stack.push_async_callback(self.server.stop)
        self.client = await self._stack.enter_async_context(connected(self._url))
        self.transport = NatsTransport(self.client)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def call(self, text: str = "hello", **options: Any) -> Reply:
        return await self.transport.request(ECHO, StringValue(value=text), CallOptions(**options))

    async def raw(self, data: bytes, headers: dict[str, str] | None = None) -> tuple[Any, Any]:
        """Send bytes as a bare client would; the Response and its headers."""
        message = await self.client.request(ECHO.full_name, data, timeout=10, headers=headers)
        return Response.FromString(message.data), message.headers or {}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats() as server:
        yield server


async def test_a_call_reaches_the_app_and_its_reply_comes_back(server: EmbeddedNats) -> None:
    app = FakeApp()

    async with Served(app, server.url) as served:
        reply = await served.call("hello")

    assert reply.message == StringValue(value="hello")
    assert reply.global_position == 7
    assert app.calls[0][0] is ECHO


async def test_calls_at_once_get_each_its_own_answer(server: EmbeddedNats) -> None:
    def answer_out_of_order(request: Any) -> Any:
        time.sleep(0.001 * (hash(request.value) % 5))
        return request

    async with Served(FakeApp(answer_out_of_order), server.url) as served:
        texts = [str(number) for number in range(300)]
        replies = await asyncio.gather(*(served.call(text) for text in texts))

    assert [reply.message.value for reply in replies] == texts  # type: ignore[attr-defined]


async def test_client_and_service_go_on_after_the_server_restarts(tmp_path: Path) -> None:
    with EmbeddedNats(tmp_path, token=TOKEN) as first:
        port = urlsplit(first.url).port or 0
        async with Served(FakeApp(), first.url) as served:
            before = await served.call("before")
            await asyncio.to_thread(first.stop)
            with EmbeddedNats(tmp_path, token=TOKEN, port=port):
                ends = (served.client, served.serving)
                while not all(end.is_connected for end in ends):  # noqa: ASYNC110 - by nats-py
                    await asyncio.sleep(0.02)
                after = None
                while after is None:  # until the server knows the service again
                    with contextlib.suppress(BrokerUnavailable):
                        after = await served.call("after")

    assert before.message == StringValue(value="before")
    assert after.message == StringValue(value="after")


async def test_options_travel_in_headers(server: EmbeddedNats) -> None:
    """Everything a caller says about a call arrives, the tenant too."""
    app = FakeApp()
    options = {
        "command_id": "cmd 1 ü",
        "correlation_id": "corr%1",
        "causation_id": "cause",
        "tenant": "acme",
        "expected_version": 4,
        "at_least": 17,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }

    async with Served(app, server.url) as served:
        await served.call(**options, timeout=12)

    received = app.calls[0][2]
    assert {name: getattr(received, name) for name in options} == options
    assert 11 < received.timeout <= 12


@pytest.mark.promise("principals-are-confirmed")
async def test_a_claimed_principal_counts_only_when_somebody_vouches_for_it(
    server: EmbeddedNats,
) -> None:
    app = FakeApp()

    async with Served(app, server.url) as served:
        await served.call(principal_id="alice")
    async with Served(app, server.url, authenticate=claimed_principal) as served:
        await served.call(principal_id="alice")

    assert [call[2].principal_id for call in app.calls] == ["", "alice"]


@pytest.mark.parametrize("name", ["Tenant-ID", "tenant-id", "TENANT-ID"])
@pytest.mark.promise("headers-are-not-ignored")
async def test_the_names_of_headers_have_no_case(server: EmbeddedNats, name: str) -> None:
    app = FakeApp()

    async with Served(app, server.url, authenticate=claimed_principal) as served:
        response, _ = await served.raw(b"", {name: "acme", "principal-ID": "alice"})

    assert response.success
    (call,) = app.calls
    assert (call[2].tenant, call[2].principal_id) == ("acme", "alice")


@pytest.mark.parametrize(
    ("headers", "meant"),
    [
        ({"TenantId": "acme"}, "Write Tenant-Id."),
        ({"Tenant_ID": "acme"}, "Write Tenant-Id."),
        ({"X-Tenant-Id": "acme"}, "Write Tenant-Id."),
        ({"Eskit-Command-Id": "c"}, "Write Command-Id."),
        ({"expectedversion": "3"}, "Write Expected-Version."),
        ({"Deadline-MS": "1000", "deadline_ms": "1"}, "Write Deadline-Ms."),
        ({"Tenant-Id": "acme", "Tenant-ID": "other"}, ""),
    ],
)
@pytest.mark.promise("headers-are-not-ignored")
async def test_a_header_in_another_spelling_is_never_passed_over(
    server: EmbeddedNats, headers: dict[str, str], meant: str
) -> None:
    app = FakeApp()

    async with Served(app, server.url) as served:
        response, _ = await served.raw(b"", headers)

    assert app.calls == []
    assert response.error.code == "INVALID_REQUEST"
    assert response.error.solution == meant


async def test_a_header_that_is_nearly_one_of_eskit_leaves_a_word_in_the_log(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    app = FakeApp()

    async with Served(app, server.url) as served:
        for _ in range(3):
            response, _ = await served.raw(b"", {"Tenant": "acme", "Authorization": "Basic"})

    assert response.success
    (record,) = caplog.records
    assert record.getMessage() == (
        "Header Tenant is none of eskit's: did its sender mean Tenant-Id?"
    )


@pytest.mark.promise("commands-are-done-once")
async def test_a_command_without_an_id_gets_one_that_a_retry_repeats(
    server: EmbeddedNats,
) -> None:
    """What is sent again is decided by kind of failure, with one command id."""
    app = FakeApp(answer=lambda request: time.sleep(0.4) or request)

    async with Served(app, server.url) as served:
        await served.call(timeout=0.9)

    ids = {call[2].command_id for call in app.calls}
    assert len(app.calls) > 1
    assert len(ids) == 1
    assert ids != {""}


async def test_a_rejection_arrives_with_all_its_fields(server: EmbeddedNats) -> None:
    def reject(_: Any) -> Any:
        raise CommandRejected("NO_FUNDS", "Not enough ü", solution="Pay in", details={"a": "1"})

    async with Served(FakeApp(reject), server.url) as served:
        with pytest.raises(CommandRejected) as caught:
            await served.call()
        _, headers = await served.raw(b"")

    error = caught.value
    assert (error.rejection, error.message) == ("NO_FUNDS", "Not enough ü")
    assert (error.solution, error.details) == ("Pay in", {"a": "1"})
    assert headers["Nats-Service-Error"] == "NO_FUNDS"
    assert headers["Nats-Service-Error-Code"] == "422"


@pytest.mark.promise("faults-stay-internal")
async def test_a_fault_shows_an_id_to_the_caller_and_the_rest_to_the_log(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError("secret table users has no column password")

    async with Served(FakeApp(fail), server.url) as served:
        with pytest.raises(CallFailed, match="Internal error") as caught:
            await served.call()

    assert "secret" not in str(caught.value)
    error_id = caught.value.message.rpartition(" ")[2]
    assert error_id in caplog.text
    assert "secret table" in caplog.text


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ProjectionFailed, "has failed"),
        (partial(ProjectionError, code="PROJECTION_PAUSED"), "is paused"),
        (CheckpointMismatch, "made from another log"),
        (ReadModelUnavailable, "cannot be used"),
        (StoreUnavailable, "cannot be used now; nothing was changed"),
    ],
)
@pytest.mark.parametrize("layers", [(), (recover,)], ids=["plain", "recover"])
async def test_what_is_away_is_told_in_a_sentence_and_counted_in_the_log(
    server: EmbeddedNats,
    caplog: pytest.LogCaptureFixture,
    raised: Callable[..., EskitError],
    told: str,
    layers: tuple[Middleware, ...],
) -> None:
    fails = [True]

    def fail(request: Any) -> Any:
        if fails[0]:
            raise raised("notes stopped before 7:\n KeyError('secret')", hint="Look at /srv/bank")
        return request

    def ask(call: Call) -> Future[Reply]:
        return FakeApp(fail).submit(call.method, call.request, call.options)

    class Layered:
        def submit(
            self, method: Method, request: Message, options: CallOptions, _executor: Executor
        ) -> Future[Reply]:
            return pass_through(layers, ask, Call(method=method, request=request, options=options))

    async with Served(Layered(), server.url) as served:
        with pytest.raises(EskitError, match=told) as caught:
            await served.call()
        _, headers = await served.raw(b"")
        fails[0] = False
        await served.call()

    error = caught.value
    assert re.search("eskit project status|its log says why", error.hint)
    original = raised("")
    assert (type(error), error.code) == (type(original), original.code)
    assert headers["Nats-Service-Error"] == original.code
    assert headers["Nats-Service-Error-Code"] == "503"
    assert not any(internal in f"{error} {error.hint}" for internal in ("secret", "/srv", "\n"))
    first, last = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert first.exc_info is None
    assert first.getMessage() == (
        f"{ECHO.path} cannot be answered: notes stopped before 7: KeyError('secret')"
    )
    assert last.getMessage().endswith("answers again; 2 requests were refused")


@pytest.mark.parametrize(
    "raised", [StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
)
async def test_a_handler_cannot_end_the_service_or_keep_its_place(
    server: EmbeddedNats, raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: Any) -> Any:
        if request.value == "raise":
            raise raised
        return request

    async with Served(FakeApp(answer), server.url, max_concurrent=1) as served:
        for _ in range(2):
            with pytest.raises(CallFailed, match="Internal error"):
                await served.call("raise", timeout=5.0)
        reply = await served.call("hello", timeout=5.0)

    assert reply.message.value == "hello"
    assert raised.__name__ in caplog.text


@pytest.mark.parametrize(
    "rejection",
    [
        CommandRejected("NO", "\ud800"),
        CommandRejected("NO", "No", details={"balance": 7}),  # type: ignore[dict-item]
        CommandRejected("NO", "x" * 20_000_000, solution="y" * 20_000_000),
        CommandRejected("N\nÖ", "No"),
    ],
    ids=["no text", "a number", "too long", "a name of two lines"],
)
async def test_a_rejection_arrives_whatever_the_rules_say_it_with(
    server: EmbeddedNats, rejection: CommandRejected
) -> None:
    def reject(_: Any) -> Any:
        raise rejection

    async with Served(FakeApp(reject), server.url) as served:
        with pytest.raises(CommandRejected) as caught:
            await served.call(timeout=10)

    assert len(caught.value.message) < 11_000


class Mute:
    """It has no text."""

    def __str__(self) -> str:
        raise ValueError("nothing to say")


async def test_a_rejection_that_has_no_text_is_a_fault(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    def reject(_: Any) -> Any:
        raise CommandRejected("NO", "No", details={"why": Mute()})  # type: ignore[dict-item]

    async with Served(FakeApp(reject), server.url) as served:
        with pytest.raises(CallFailed, match="Internal error"):
            await served.call(timeout=10)

    assert "nothing to say" in caplog.text


@pytest.mark.parametrize("returned", [None, "text", Int64Value(value=1)])
async def test_an_answer_that_is_none_is_a_fault(server: EmbeddedNats, returned: Any) -> None:
    async with Served(FakeApp(lambda _: returned), server.url) as served:
        with pytest.raises(CallFailed):
            await served.call(timeout=10)


@pytest.mark.parametrize(
    ("data", "headers", "code"),
    [
        (b"\xff\xff\xff", None, "INVALID_REQUEST"),
        (b"", {"Message-Type": "test.v1.SomethingElse"}, "INVALID_MESSAGE_TYPE"),
        (b"", {"Message-Type": "eventsourcing.Response"}, "INVALID_MESSAGE_TYPE"),
        (b"", {"Expected-Version": "-1"}, "INVALID_REQUEST"),
        (b"", {"Expected-Version": "9" * 5000}, "INVALID_REQUEST"),
        (b"", {"Deadline-Ms": "soon"}, "INVALID_REQUEST"),
        (b"", {"Correlation-Id": "x" * 256}, "INVALID_REQUEST"),
        (b"", {"Causation-Id": "%20" * 256}, "INVALID_REQUEST"),
        (b"x" * 2_000_000, None, "REQUEST_TOO_LARGE"),
    ],
)
@pytest.mark.promise("bad-requests-are-isolated")
async def test_a_bad_request_gets_an_error_and_the_server_lives(
    server: EmbeddedNats, data: bytes, headers: dict[str, str] | None, code: str
) -> None:
    """The endpoint decides the type of its request, never the client."""
    app = FakeApp()

    async with Served(app, server.url) as served:
        response, reply_headers = await served.raw(data, headers)
        assert (await served.call("still here")).message.value == "still here"

    assert not response.success
    assert response.error.code == code
    assert reply_headers["Nats-Service-Error"] == code
    assert len(app.calls) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "events.Account.account.v1.AccountOpenedEvent",
        "tenants.acme.events.Account.account.v1.AccountOpenedEvent",
        "$JS.API.STREAM.PURGE.EVENTS",
        ASK.full_name,
    ],
)
@pytest.mark.promise("replies-reach-only-callers")
async def test_no_answer_goes_where_it_would_be_an_event_a_request_or_an_order(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture, reply: str
) -> None:
    app = FakeApp()
    async with Served(app, server.url) as served:
        listener = await served.client.subscribe(reply)
        for subject in (ECHO.full_name, "$SRV.PING", "$SRV.INFO.test-v1-EchoCommandService"):
            await served.client.publish(subject, b"", reply=reply)
        await served.call("goes on")

        assert listener.pending_msgs == 0
        assert [str(request.value) for _, request, _ in app.calls] == ["goes on"]
        assert f"{ECHO.full_name} wants its answer on {reply!r}" in caplog.text


async def test_requests_run_at_the_same_time_but_not_more_than_allowed(
    server: EmbeddedNats,
) -> None:
    """Concurrency is real, and bounded."""
    running, most = 0, 0
    lock = threading.Lock()

    def slow(request: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return request

    async with Served(FakeApp(slow), server.url, max_concurrent=16) as served:
        begun = time.monotonic()
        await asyncio.gather(*(served.call() for _ in range(64)))
        took = time.monotonic() - begun

    assert most == 16
    assert took < 64 * 0.1 / 4


async def test_too_many_requests_are_turned_away_and_those_within_bounds_answered(
    server: EmbeddedNats,
) -> None:
    go_on = threading.Event()

    def wait(request: Any) -> Any:
        go_on.wait(20)
        return request

    bounds = {"max_concurrent": 2, "max_waiting": 3}
    async with Served(FakeApp(wait), server.url, **bounds) as served:
        requests = [asyncio.create_task(served.raw(b"")) for _ in range(12)]
        turned_away: set[Any] = set()
        while len(turned_away) < 7:
            done, _ = await asyncio.wait(
                set(requests) - turned_away, return_when=asyncio.FIRST_COMPLETED, timeout=20
            )
            assert done
            turned_away |= done
        go_on.set()
        answers = await asyncio.gather(*requests)

    codes = [response.error.code for response, _ in answers]
    assert (codes.count(""), codes.count("OVERLOADED")) == (5, 7)
    assert {request.result()[0].error.code for request in turned_away} == {"OVERLOADED"}


async def test_a_handler_that_takes_too_long_is_answered_for(server: EmbeddedNats) -> None:
    app = FakeApp(answer=lambda request: time.sleep(0.6) or request)

    async with Served(app, server.url, timeout=0.1) as served:
        response, headers = await served.raw(b"")

    assert response.error.code == "HANDLER_TIMEOUT"
    assert headers["Nats-Service-Error-Code"] == "504"


@pytest.mark.parametrize("position", ["-1", "later", "9" * 5000])
async def test_a_reply_with_a_position_that_is_none_is_a_reply_without_one(
    server: EmbeddedNats, position: str
) -> None:
    async with Served(FakeApp(), server.url, services=SERVICES[1:]) as served:

        async def answer(request: Any) -> None:
            data = success(StringValue(value="done")).SerializeToString()
            headers = {"Global-Position": position}
            await served.serving.publish(request.reply, data, headers=headers)

        await served.serving.subscribe(ECHO.full_name, cb=answer)
        await settle(served.serving)
        reply = await served.call()

    assert (reply.message, reply.global_position) == (StringValue(value="done"), 0)


async def test_a_request_whose_time_is_over_when_it_comes_reaches_no_handler(
    server: EmbeddedNats,
) -> None:
    app = FakeApp()

    async with Served(app, server.url, max_concurrent=1) as served:
        response, _ = await served.raw(b"", {"Deadline-Ms": "0"})
        await served.call("in time")

    assert response.error.code == "HANDLER_TIMEOUT"
    assert [str(request.value) for _, request, _ in app.calls] == ["in time"]


async def test_a_call_that_is_never_answered_times_out_within_its_time(
    server: EmbeddedNats,
) -> None:
    """A call has a deadline in any case."""
    app = FakeApp(answer=lambda request: time.sleep(1.5) or request)

    async with Served(app, server.url) as served:
        begun = time.monotonic()
        with pytest.raises(RequestTimeout, match=r"did not answer within 0\.6 s"):
            await served.call(timeout=0.6)
        took = time.monotonic() - begun

    assert took < 1.2


async def test_a_cancelled_call_ends_at_once_and_leaves_nothing_waiting(
    server: EmbeddedNats,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(request: Any) -> Any:
        if request.value == "slow":
            begun.set()
            go_on.wait(10)
        return request

    async with Served(FakeApp(wait), server.url) as served:
        await served.call("first")
        before = asyncio.all_tasks()
        calling = asyncio.create_task(served.call("slow", timeout=60))
        await asyncio.to_thread(begun.wait, 10)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        go_on.set()
        assert (await served.call("next")).message == StringValue(value="next")
        await served.server.stop()
        left = {task for task in asyncio.all_tasks() - before if not task.done()}

    assert left == set()


async def test_a_service_that_is_gone_for_a_moment_with_the_request_is_waited_for(
    server: EmbeddedNats,
) -> None:
    """The second of three requests meets nobody: the service is on its way to another node."""
    app = FakeApp()
    async with connected(server.url) as first, connected(server.url) as client:
        taking = await first.subscribe(ECHO.full_name)
        await settle(first)
        calling = asyncio.create_task(
            NatsTransport(client).request(ECHO, StringValue(value="x"), CallOptions(timeout=3))
        )
        taken = await taking.next_msg(timeout=10)
        await taking.unsubscribe()
        await settle(first)
        await asyncio.wait({calling}, timeout=1.2)
        async with Served(app, server.url):
            reply = await calling

    (call,) = app.calls
    assert reply.message == StringValue(value="x")
    assert call[2].command_id == (taken.headers or {})["Command-Id"]


async def test_nobody_who_answers_is_told_apart_from_no_broker(server: EmbeddedNats) -> None:
    async with connected(server.url) as connection:
        with pytest.raises(BrokerUnavailable, match="No service responds") as caught:
            await NatsTransport(connection).request(ECHO, StringValue(), CallOptions())

    assert "eskit serve" in caught.value.hint


async def test_a_request_larger_than_the_broker_takes_is_refused_at_once(
    server: EmbeddedNats,
) -> None:
    async with Served(FakeApp(), server.url) as served:
        with pytest.raises(InvalidArgument, match="more than the NATS server takes"):
            await served.call("x" * 10_000_000)


async def test_two_services_are_two_micro_services_with_each_endpoint_once(
    server: EmbeddedNats,
) -> None:
    """Neither a second service nor a second start registers the endpoints again."""

    def fail(_: Any) -> Any:
        raise RuntimeError("no")

    async with Served(FakeApp(fail), server.url) as served:
        await served.server.start()
        await served.raw(b"")
        infos = await gather_replies(served.client, "$SRV.INFO")
        stats = await gather_replies(served.client, "$SRV.STATS.test-v1-EchoCommandService")

    endpoints = {
        info["name"]: [(end["name"], end["subject"]) for end in info["endpoints"]] for info in infos
    }
    assert len(infos) == 2
    assert endpoints == {
        "test-v1-EchoCommandService": [("Echo", "test.v1.EchoCommandService.Echo")],
        "test-v1-EchoQueryService": [("Ask", "test.v1.EchoQueryService.Ask")],
    }
    (endpoint,) = stats[0]["endpoints"]
    assert (endpoint["num_requests"], endpoint["num_errors"]) == (1, 1)
    assert endpoint["last_error"] == "500:INTERNAL_ERROR"


async def test_nats_py_reads_what_the_services_say_about_themselves(
    server: EmbeddedNats,
) -> None:
    """Descriptions and error counts are those of NATS micro services."""
    from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

    async with Served(FakeApp(), server.url) as served:
        for verb, kind in (("PING", ServicePing), ("INFO", ServiceInfo), ("STATS", ServiceStats)):
            (reply,) = await gather_replies(served.client, f"$SRV.{verb}.test-v1-EchoQueryService")
            assert kind.from_dict(reply).name == "test-v1-EchoQueryService"


async def test_stopping_lets_requests_under_way_finish(server: EmbeddedNats) -> None:
    app = FakeApp(answer=lambda request: time.sleep(0.3) or request)

    async with Served(app, server.url) as served:
        call = asyncio.create_task(served.call())
        await asyncio.sleep(0.1)
        await served.server.stop()

        assert (await call).message.value == "hello"
        with pytest.raises(BrokerUnavailable):
            await served.call()


@pytest.mark.parametrize("name", ["events.v1.Service", "tenants.v1.Service"])
async def test_a_package_on_the_subjects_of_events_is_refused(
    server: EmbeddedNats, name: str
) -> None:
    async with connected(server.url) as connection:
        with pytest.raises(
            ProjectError, check=coded("PROJECT_INVALID"), match="subjects that belong to events"
        ):
            await serve_nats(FakeApp(), connection, [ServiceType(name=name, methods=(ECHO,))])


async def test_command_and_caller_reach_the_metadata_of_the_event(server: EmbeddedNats) -> None:
    """The command id and who sent it are with the event, and a resend appends nothing."""
    app = App("notes", aggregates=[Note])
    options = CallOptions(
        command_id="cmd-1",
        correlation_id="corr-1",
        causation_id="cause-1",
        principal_id="alice",
        tenant="acme",
    )

    with app.open("memory://") as running:
        async with Served(
            running, server.url, services=app.service_types, authenticate=claimed_principal
        ) as served:
            first = await served.transport.request(WRITE, WriteCommand(note_id="1"), options)
            again = await served.transport.request(WRITE, WriteCommand(note_id="1"), options)
        (event,) = running.store.read_all()

    assert (first.message.note_id, first.already_processed) == ("1", False)
    assert (again.message.note_id, again.already_processed) == ("1", True)
    assert first.global_position == again.global_position == event.global_position
    assert event.tenant == "acme"
    assert event.metadata.command_id == "cmd-1"
    assert event.metadata.correlation_id == "corr-1"
    assert event.metadata.causation_id == "cause-1"
    assert event.metadata.principal_id == "alice"


async def test_verdicts_of_the_log_arrive_as_they_were_raised(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    """Typed errors survive the wire."""
    app = App("notes", aggregates=[Note])
    caplog.set_level(logging.ERROR)

    with app.open("memory://") as running:
        async with Served(running, server.url, services=app.service_types) as served:
            with pytest.raises(VersionConflict) as caught:
                await served.transport.request(
                    WRITE, WriteCommand(note_id="1"), CallOptions(expected_version=3)
                )
            with pytest.raises(InvalidArgument, match="no tenant"):
                await served.transport.request(
                    WRITE, WriteCommand(note_id="1"), CallOptions(tenant="no tenant")
                )

    error = caught.value
    assert (error.stream, error.expected, error.actual) == ("Note-1", 3, 0)
    assert not caplog.records


async def gather_replies(client: Any, subject: str) -> list[dict[str, Any]]:
    """Every reply to one request that several services answer."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    await client.publish(subject, b"", reply=inbox)
    replies = []
    try:
        while True:
            message = await subscription.next_msg(timeout=0.3)
            replies.append(json.loads(message.data))
    except nats.errors.TimeoutError:
        await subscription.unsubscribe()
        return replies


def _define_notes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/notes/v1/notes.proto", package="tests.notes.v1", syntax="proto3"
    )
    for name in ("Note", "WriteCommand", "WriteResponse", "WrittenEvent"):
        text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
        file.message_type.add(name=name).field.add(name="note_id", number=1, type=text, label=1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    classes = message_factory.GetMessageClassesForFiles([file.name], descriptor_pool.Default())
    return {name.rpartition(".")[2]: kind for name, kind in classes.items()}


_notes = _define_notes()
WriteCommand: Any = _notes["WriteCommand"]
WRITE = Method(
    service="tests.notes.v1.NoteCommandService",
    name="Write",
    python_name="write",
    kind="command",
    request=WriteCommand,
    response=_notes["WriteResponse"],
)


class Note(Aggregate[Any, Any]):
    """The smallest aggregate there is, written as generated code and a user would."""

    __aggregate__: ClassVar[AggregateType] = AggregateType(
        name="Note",
        state=_notes["Note"],
        id_field="note_id",
        commands=(WRITE,),
        events=(EventMethod(event=_notes["WrittenEvent"], python_name="on_written"),),
    )

    def write(self, command: Any) -> Any:
        self.emit(_notes["WrittenEvent"](note_id=command.note_id))
        return _notes["WriteResponse"](note_id=command.note_id)

    def on_written(self, event: Any) -> None:
        self.state.note_id = event.note_id
