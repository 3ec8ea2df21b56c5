"""Calling services over gRPC, whoever serves them."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError, Message

from eskit.cqrs import wire
from eskit.cqrs.clients import with_command_id
from eskit.cqrs.deadline import unanswered
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.responses import raised_there
from eskit.domain.messages import encode
from eskit.domain.services import Method
from eskit.errors import (
    BrokerUnavailable,
    CallFailed,
    EskitError,
    InvalidArgument,
    MissingPackage,
)
from eskit.schema.response_pb2 import AppError

try:
    import grpc
    from google.rpc.status_pb2 import Status

    from eskit.cqrs.grpc.status import STATUS_DETAILS
except ImportError as error:
    raise MissingPackage("gRPC", "grpcio", extra="grpc") from error


class GrpcTransport:
    """Sends requests over a channel of `grpc.aio`, which is the caller's to close.

    Raises what a client over NATS does. Nothing is sent twice: a command that got no answer may
    have run, and is safe to send again with its command id.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def request(self, method: Method, message: Message, options: CallOptions) -> Reply:
        """Send `message` and return the reply."""
        options = with_command_id(method, options)
        headers = wire.request_headers(message, options, remaining=options.timeout)
        del headers[wire.DEADLINE_MS]  # gRPC sends its own
        call = self._channel.unary_unary(
            f"/{method.path}",
            request_serializer=encode,
            response_deserializer=None,
        )(
            message,
            timeout=options.timeout,
            metadata=[(name.lower(), value) for name, value in headers.items()],
        )
        try:
            data = await call
            about = wire.Headers(_texts(await call.trailing_metadata()))
        except grpc.aio.AioRpcError as error:
            raise _raised_there(method, options, error) from error
        try:
            answer = method.response.FromString(data)
        except DecodeError as error:
            raise CallFailed(
                "INVALID_RESPONSE", f"{method.path} answered with another message"
            ) from error
        return Reply(
            message=answer,
            global_position=wire.reply_position(about),
            already_processed=about.get(wire.ALREADY_PROCESSED) == "true",
        )


def _raised_there(method: Method, options: CallOptions, error: grpc.aio.AioRpcError) -> EskitError:
    """What a call failed with: as the service was told of it, or else by the code alone."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS and isinstance(value, bytes):
            told = AppError()
            try:
                details = Status.FromString(value).details
            except DecodeError:
                break
            if any(detail.Unpack(told) for detail in details if detail.Is(told.DESCRIPTOR)):
                return raised_there(told)
    text = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return unanswered(method, options.timeout)
        case grpc.StatusCode.UNAVAILABLE:
            return BrokerUnavailable(
                f"No service responds to {method.path}: {text}",
                hint="Start the service: eskit serve --grpc PORT",
            )
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return InvalidArgument(text)
    return CallFailed(error.code().name, text)


def _texts(metadata: Iterable[tuple[str, str | bytes]] | None) -> list[tuple[str, str]]:
    return [(key, value) for key, value in metadata or () if isinstance(value, str)]
