"""Answering commands and queries over gRPC.

Every rpc answers with its own response, so that clients made of the proto alone need nothing of
eskit. What a client may say about a call is metadata, named like the headers over NATS; what
eskit says about the answer is trailing metadata.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from eskit.cqrs import wire
from eskit.cqrs.grpc.operating import add_health, add_reflection
from eskit.cqrs.grpc.status import (
    STATUS_DETAILS,
    about,
    status_code,
    status_details,
    status_message,
)
from eskit.cqrs.requests import Requests
from eskit.domain.messages import encode
from eskit.domain.services import Method, ServiceType
from eskit.errors import ServiceError

_log = logging.getLogger("eskit.services")
_HEADROOM = 64 * 1024
"""How much larger than the largest request a message may be for eskit itself to refuse it."""
_TO_ANSWER = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """The certificate chain and the key of a server, both PEM.

    With `clients`, the authorities that sign clients' certificates, no other client gets in.
    """

    certificate: bytes
    key: bytes
    clients: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC takes."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.clients,
            require_client_auth=self.clients is not None,
        )


class GrpcServices:
    """Answers the methods of services as plain gRPC, with reflection and health.

    Port 0 is a free one; `port` then says which.
    """

    def __init__(
        self,
        requests: Requests,
        services: Sequence[ServiceType],
        *,
        app_name: str,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ServerTls | None = None,
    ) -> None:
        self.port = port
        self._host = f"[{host}]" if ":" in host else host
        self._requests = requests
        self._services = list(services)
        self._app_name = app_name
        self._tls = tls
        self._stopping = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'grpc' if self._tls is None else 'grpcs'}://{self._host}:{self.port}"

    async def start(self) -> None:
        """Answer requests from now on; ServiceError where the address cannot be listened on."""
        self._stopping.clear()
        server = self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._requests.max_request + _HEADROOM),
                ("grpc.so_reuseport", 0),
            ]
        )
        for service in self._services:
            server.add_generic_rpc_handlers((self._handler_of(service),))
        names = [service.name for service in self._services]
        add_health(server, names, check=self.check_health, stopping=self._stopping)
        add_reflection(server, names)
        address = f"{self._host}:{self.port}"
        try:
            if self._tls is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise ServiceError(
                f"gRPC cannot be served on {address}: the port is taken, or the host is "
                "none of this machine's",
                hint="Choose another host or port.",
            ) from error
        await server.start()
        _log.info("Answering %s over gRPC on port %d", ", ".join(names), self.port)

    async def stop(self, within: float = 5.0) -> None:
        """Take no more requests, and give those under way `within` seconds; idempotent."""
        self._stopping.set()
        if self._server is not None:
            ended = asyncio.ensure_future(self._server.stop(within + _TO_ANSWER))
            await asyncio.wait({ended}, timeout=within)
            self._requests.give_up()
            await ended
            self._server = None
        self._requests.close()

    async def check_health(self) -> None:
        """Raise why requests are not answered; see `Requests`."""
        await self._requests.check_health()

    def describe(self) -> str:
        """Which handlers take longer than they should; empty if none does."""
        return self._requests.describe()

    def _handler_of(self, service: ServiceType) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            service.name,
            {
                method.name: grpc.unary_unary_rpc_method_handler(partial(self._respond, method))
                for method in service.methods
            },
        )

    async def _respond(self, method: Method, data: bytes, context: Any) -> bytes:
        """The answer to one request, whatever it is and whatever happens."""
        try:
            metadata = context.invocation_metadata() or ()
            headers = wire.Headers((key, text) for key, text in metadata if isinstance(text, str))
            within = context.time_remaining()
            reply = await self._requests.answer(method, data, headers, within=within)
            answer = encode(reply.message)
        except Exception as error:  # noqa: BLE001 - the border: whatever is raised, the server lives
            failure = self._requests.explain(method, error)
        else:
            context.set_trailing_metadata(about(reply))
            return answer
        details = (STATUS_DETAILS, status_details(failure, self._app_name))
        await context.abort(status_code(failure), status_message(failure), (details,))
        raise AssertionError  # abort has raised
