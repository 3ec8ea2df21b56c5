"""What tools and probes ask a gRPC server besides its methods: health and reflection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from eskit.errors import EskitError

_LOOK_EVERY = 1.0
_MOST_WATCHES = 100
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_REFLECTIONS = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
"""The name before, and that of today: their messages are the same."""
_Answer = health_pb2.HealthCheckResponse


def add_health(
    server: grpc.aio.Server,
    services: Collection[str],
    *,
    check: Callable[[], Awaitable[None]],
    stopping: asyncio.Event,
) -> None:
    """Answer ``grpc.health.v1.Health``: `check` raises what is not well, whenever somebody asks."""
    health = _Health({"", *services}, check, stopping)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Tell tools which services there are, and what their messages look like."""
    answers = reflection.aio.ReflectionServicer([*services, _HEALTH, *_REFLECTIONS])
    handler = grpc.stream_stream_rpc_method_handler(
        answers.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            for name in _REFLECTIONS
        )
    )


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    def __init__(
        self, known: set[str], check: Callable[[], Awaitable[None]], stopping: asyncio.Event
    ) -> None:
        self._known = known
        self._check = check
        self._stopping = stopping
        self._watches = 0

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - as gRPC has it
        """How a service is; an empty name stands for all."""
        found = await self._look(request.service)
        if found.status == _Answer.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service")
        return found

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The same, and again whenever it changes."""
        if self._watches >= _MOST_WATCHES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many watch already")
        self._watches += 1
        try:
            told = None
            while not self._stopping.is_set():
                found = await self._look(request.service)
                if found != told:
                    told = found
                    yield found
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _LOOK_EVERY)
        finally:
            self._watches -= 1

    async def _look(self, service: str) -> Any:
        if service not in self._known:
            return _Answer(status=_Answer.SERVICE_UNKNOWN)
        try:
            await self._check()
        except EskitError:
            return _Answer(status=_Answer.NOT_SERVING)
        return _Answer(status=_Answer.SERVING)
