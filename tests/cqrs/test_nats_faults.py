"""Requests that nobody should send: each gets an answer, and the service lives on."""

from __future__ import annotations

import asyncio
import resource
import sys

import nats
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.cqrs.nats import NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions
from eskit.domain.services import Method
from eskit.errors import BrokerUnavailable
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from eskit.schema.response_pb2 import Response
from tests.cqrs.test_nats_services import ECHO, SERVICES, Served
from tests.support.answering import FakeApp

MEBIBYTE = 1024 * 1024
GROWTH_AT_MOST = 300 * MEBIBYTE


async def test_a_body_of_10_mb_is_refused_where_the_broker_lets_it_through() -> None:
    with EmbeddedNats(max_payload=16 * MEBIBYTE) as server:
        async with Served(FakeApp(), server.url) as served:
            response, _ = await served.raw(b"x" * (10 * MEBIBYTE))
            after = await served.call("still here")

    assert response.error.code == "REQUEST_TOO_LARGE"
    assert after.message.value == "still here"


async def test_a_subject_of_the_service_that_is_no_method_is_answered_by_nobody() -> None:
    unknown = Method(
        service=ECHO.service,
        name="Unheard",
        python_name="unheard",
        kind="command",
        request=StringValue,
        response=StringValue,
    )

    with EmbeddedNats() as server:
        async with Served(FakeApp(), server.url) as served:
            with pytest.raises(BrokerUnavailable, match="No service responds"):
                await served.transport.request(unknown, StringValue(), CallOptions(timeout=5))
            after = await served.call("still here")

    assert after.message.value == "still here"


@pytest.mark.slow
@pytest.mark.promise("requests-are-answered")
async def test_each_of_10000_requests_at_once_is_answered_and_memory_is_bounded() -> None:
    body = StringValue(value="x" * 1000).SerializeToString()

    with EmbeddedNats() as server:
        async with connected(server.url) as serving:
            served = await serve_nats(FakeApp(), serving, SERVICES, max_concurrent=16)
            client = await nats.connect(server.url, pending_size=64 * MEBIBYTE)
            before = _memory()
            replies = await asyncio.gather(
                *(client.request(ECHO.full_name, body, timeout=60) for _ in range(10_000))
            )
            grown = _memory() - before
            after = await NatsTransport(client).request(
                ECHO, StringValue(value="still here"), CallOptions()
            )
            await client.close()
            await served.stop()

    codes = [Response.FromString(reply.data).error.code for reply in replies]
    assert len(codes) == 10_000
    assert set(codes) <= {"", "OVERLOADED"}
    assert codes.count("") >= 1024
    assert grown < GROWTH_AT_MOST
    assert after.message == StringValue(value="still here")


def _memory() -> int:
    """The most memory this process has had so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
