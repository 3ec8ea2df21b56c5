"""How eskit's answers are told in gRPC's words: status codes, details and trailing metadata."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from eskit.cqrs import wire
from eskit.cqrs.authorisation import PERMISSION_DENIED, TENANT_REQUIRED, UNAUTHENTICATED
from eskit.cqrs.options import Reply
from eskit.cqrs.requests import Failure
from eskit.cqrs.responses import (
    HANDLER_TIMEOUT,
    INTERNAL_ERROR,
    INVALID_MESSAGE_TYPE,
    INVALID_REQUEST,
    OVERLOADED,
    REQUEST_TOO_LARGE,
    UNAVAILABLE,
    VALIDATION_FAILED,
)
from eskit.errors import ClaimTaken, CommandIdReused, VersionConflict
from eskit.raised import shortened
from eskit.schema.response_pb2 import AppError

STATUS_DETAILS = "grpc-status-details-bin"

_Code = grpc.StatusCode
_FAILURES: Mapping[str, grpc.StatusCode] = {
    INVALID_REQUEST: _Code.INVALID_ARGUMENT,
    INVALID_MESSAGE_TYPE: _Code.INVALID_ARGUMENT,
    REQUEST_TOO_LARGE: _Code.RESOURCE_EXHAUSTED,
    OVERLOADED: _Code.RESOURCE_EXHAUSTED,
    HANDLER_TIMEOUT: _Code.DEADLINE_EXCEEDED,
    INTERNAL_ERROR: _Code.INTERNAL,
    **dict.fromkeys(UNAVAILABLE, _Code.UNAVAILABLE),
}
_REJECTIONS: Mapping[str, grpc.StatusCode] = {
    ClaimTaken.code: _Code.ALREADY_EXISTS,
    VersionConflict.code: _Code.ABORTED,
    CommandIdReused.code: _Code.INVALID_ARGUMENT,
    TENANT_REQUIRED: _Code.INVALID_ARGUMENT,
    VALIDATION_FAILED: _Code.INVALID_ARGUMENT,
    UNAUTHENTICATED: _Code.UNAUTHENTICATED,
    PERMISSION_DENIED: _Code.PERMISSION_DENIED,
    **{
        code.name: code
        for code in (
            _Code.NOT_FOUND,
            _Code.ALREADY_EXISTS,
            _Code.INVALID_ARGUMENT,
            _Code.OUT_OF_RANGE,
            _Code.RESOURCE_EXHAUSTED,
            _Code.ABORTED,
            _Code.UNIMPLEMENTED,
        )
    },
}
# Clients take 8 KiB of metadata, in which details count a third more.
_LONGEST_TEXT = 1_000
_LONGEST_DETAIL = 100
_MOST_DETAILS = 10


def status_code(failure: Failure) -> grpc.StatusCode:
    """FAILED_PRECONDITION for a rejection that has not the name of a status of gRPC."""
    if failure.rejected:
        return _REJECTIONS.get(failure.code, _Code.FAILED_PRECONDITION)
    return _FAILURES.get(failure.code, _Code.INTERNAL)


def status_message(failure: Failure) -> str:
    """The sentence of a failure, in one line."""
    return " ".join(shortened(failure.response.error.message, _LONGEST_TEXT).split())


def status_details(failure: Failure, app_name: str) -> bytes:
    """A failure as ``google.rpc.Status``, with ErrorInfo and what eskit says of it."""
    error = failure.response.error
    cut = AppError(
        code=shortened(error.code, _LONGEST_DETAIL),
        message=shortened(error.message, _LONGEST_TEXT),
        solution=shortened(error.solution, _LONGEST_TEXT),
        details={
            shortened(name, _LONGEST_DETAIL): shortened(value, _LONGEST_DETAIL)
            for name, value in islice(error.details.items(), _MOST_DETAILS)
        },
    )
    number, _ = status_code(failure).value
    status = Status(code=number, message=cut.message)
    status.details.add().Pack(ErrorInfo(reason=cut.code, domain=app_name))
    status.details.add().Pack(cut)
    return bytes(status.SerializeToString())


def about(reply: Reply) -> tuple[tuple[str, str], ...]:
    """What eskit says about an answer, as metadata."""
    position = (wire.GLOBAL_POSITION.lower(), str(reply.global_position))
    if reply.already_processed:
        return position, (wire.ALREADY_PROCESSED.lower(), "true")
    return (position,)
