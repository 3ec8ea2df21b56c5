"""Health for probes: a few lines of HTTP, so that whatever supervises the process can ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence

from eskit.errors import ServiceError
from eskit.runtime.runner import ServiceHealth

_READ_WITHIN = 5.0
_HEADERS_AT_MOST = 100


class HealthProbe:
    """Answers ``GET /live`` (the process answers) and ``/health`` (every service is well).

    ``/health`` is 200 or 503, with one JSON object that says how each service is. `check` is
    usually `Runner.check_health`. Port 0 is a free one; `port` says which.
    """

    def __init__(
        self,
        check: Callable[[], Awaitable[Sequence[ServiceHealth]]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.name = "health"
        self.port = port
        self._check = check
        self._host = host
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where to ask for the health of all."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/health"

    async def start(self) -> None:
        """Listen. Raises ServiceError when the port is taken."""
        try:
            self._server = await asyncio.start_server(self._answer, self._host, self.port)
        except OSError as error:
            raise ServiceError(
                f"Health cannot be served on {self._host}:{self.port}: {error.strerror}",
                hint="Choose another host or port.",
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more; idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_READ_WITHIN):
                request = await reader.readline()
                for _ in range(_HEADERS_AT_MOST):
                    if not (await reader.readline()).strip():
                        break
            writer.write(await self._response(request))
            await writer.drain()
        writer.close()

    async def _response(self, request: bytes) -> bytes:
        method, _, rest = request.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0]
        if method not in {"GET", "HEAD"} or path not in {"/health", "/live"}:
            return _http("404 Not Found", {"error": "Ask for GET /health or /live"})
        if path == "/live":
            return _http("200 OK", {"healthy": True})
        found = await self._check()
        healthy = all(one.healthy for one in found)
        services = [
            {
                "service": one.service,
                "healthy": one.healthy,
                "error": one.error,
                "detail": one.detail,
            }
            for one in found
        ]
        status = "200 OK" if healthy else "503 Service Unavailable"
        return _http(status, {"healthy": healthy, "services": services})


def _http(status: str, data: object) -> bytes:
    body = json.dumps(data).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
