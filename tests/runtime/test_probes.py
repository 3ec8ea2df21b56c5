"""Whatever supervises the process can ask how it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from eskit.errors import ServiceError
from eskit.runtime.probes import HealthProbe
from eskit.runtime.runner import ServiceHealth


async def ask(port: int, text: str) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode() + b"\r\nHost: here\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_a_probe_tells_healthy_from_unhealthy_and_what_is_wrong() -> None:
    state = [
        ServiceHealth(service="nats", healthy=True),
        ServiceHealth(service="relay", healthy=True),
    ]

    async def check() -> list[ServiceHealth]:
        return state

    probe = HealthProbe(check)
    await probe.start()
    well = await ask(probe.port, "GET /health HTTP/1.1")
    state[1] = ServiceHealth(service="relay", healthy=False, error="not running")
    ill = await ask(probe.port, "GET /health HTTP/1.1")
    live = await ask(probe.port, "GET /live HTTP/1.1")
    elsewhere = await ask(probe.port, "GET /secrets HTTP/1.1")
    garbage = await ask(probe.port, "\x00\xff")
    await probe.stop()

    assert (well[0], well[1]["healthy"]) == (200, True)
    assert (ill[0], ill[1]["healthy"]) == (503, False)
    assert ill[1]["services"][1] == {
        "service": "relay",
        "healthy": False,
        "error": "not running",
        "detail": "",
    }
    assert live[0] == 200
    assert (elsewhere[0], garbage[0]) == (404, 404)


async def test_a_taken_port_is_a_clear_error() -> None:
    async def check() -> list[ServiceHealth]:
        return []

    first = HealthProbe(check)
    await first.start()
    with pytest.raises(ServiceError, match="cannot be served"):
        await HealthProbe(check, port=first.port).start()
    await first.stop()
