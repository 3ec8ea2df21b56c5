"""The answer on the wire: ``eventsourcing.Response``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from eskit.domain.messages import message_type
from eskit.errors import (
    CallFailed,
    CheckpointMismatch,
    ClaimTaken,
    CommandIdReused,
    CommandRejected,
    EskitError,
    MigrationInvalid,
    ProjectionBusy,
    ProjectionFailed,
    ProjectionPaused,
    ReadModelDamaged,
    ReadModelUnavailable,
    RebuildNeeded,
    VersionConflict,
)
from eskit.schema.response_pb2 import AppError, Response

INVALID_REQUEST = "INVALID_REQUEST"
INVALID_MESSAGE_TYPE = "INVALID_MESSAGE_TYPE"
REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
OVERLOADED = "OVERLOADED"
HANDLER_TIMEOUT = "HANDLER_TIMEOUT"
INTERNAL_ERROR = "INTERNAL_ERROR"

_UNAVAILABLE: Mapping[type[EskitError], str] = MappingProxyType(
    {
        ProjectionFailed: "A projection that answers this has failed",
        ProjectionPaused: "A projection that answers this is paused",
        ProjectionBusy: "A projection that answers this is still catching up",
        CheckpointMismatch: "The rows that answer this were made from another log",
        RebuildNeeded: "The rows that answer this have to be made anew",
        MigrationInvalid: "The migrations of a projection that answers this do not fit",
        ReadModelUnavailable: "The read model that answers this cannot be used",
        ReadModelDamaged: "The read model that answers this is damaged",
    }
)
UNAVAILABLE = frozenset(error.code for error in _UNAVAILABLE)
"""Codes of conditions that whoever runs the service can mend."""

FAILURES = UNAVAILABLE | frozenset(
    {
        INVALID_REQUEST,
        INVALID_MESSAGE_TYPE,
        REQUEST_TOO_LARGE,
        OVERLOADED,
        HANDLER_TIMEOUT,
        INTERNAL_ERROR,
    }
)
"""Codes of the service itself; every other code is a verdict of the rules."""


def success(message: Message) -> Response:
    """A response that carries `message`."""
    response = Response(success=True)
    response.data.Pack(message)
    return response


def failure(
    code: str, message: str, *, solution: str = "", details: Mapping[str, str] | None = None
) -> Response:
    """A response that says why there is no answer."""
    error = AppError(code=code, message=message, solution=solution, details=dict(details or {}))
    return Response(success=False, error=error)


def as_rejection(error: Exception) -> CommandRejected | None:
    """The verdict that a caller should see for `error`; None if it is no verdict but a fault.

    Conflicts and taken claims are verdicts of the log, and arrive like those of the rules.
    """
    if isinstance(error, CommandRejected):
        return error
    if isinstance(error, VersionConflict):
        details = {"expected": str(error.expected), "actual": str(error.actual)}
        return CommandRejected(error.code, error.message, solution=error.hint, details=details)
    if isinstance(error, ClaimTaken):
        details = {"index": error.index, "value": error.value, "owner": error.owner}
        return CommandRejected(error.code, error.message, solution=error.hint, details=details)
    if isinstance(error, CommandIdReused):
        return CommandRejected(error.code, error.message, solution=error.hint)
    return None


def as_unavailable(error: Exception) -> CallFailed | None:
    """What a caller may know of a read model that cannot answer now; None for other errors.

    The code is that of `error`. Its own sentence stays with the service: it can quote what a
    handler raised, ids and paths.
    """
    if not isinstance(error, EskitError) or type(error) not in _UNAVAILABLE:
        return None
    return CallFailed(
        error.code,
        _UNAVAILABLE[type(error)],
        hint="Tell whoever runs the service: eskit project status says more.",
    )


def unpack(response: Response, expected: type[Message]) -> Message:
    """The message in a response.

    Raises CommandRejected for a verdict, CallFailed for a failure of the service or an answer
    that is not an `expected`.
    """
    if not response.success:
        _raise_failure(response.error)
    message = expected()
    if not response.data.Unpack(message):
        raise CallFailed(
            "INVALID_RESPONSE",
            f"The service answered with {response.data.type_url or 'nothing'}, "
            f"not with {message_type(expected)}",
            hint="Client and service were generated from different protos.",
        )
    return message


def _raise_failure(error: AppError) -> None:
    code = error.code or "UNKNOWN"
    message = error.message or "The operation failed without saying why"
    if code in FAILURES or not error.code:
        raise CallFailed(code, message, hint=error.solution)
    raise CommandRejected(code, message, solution=error.solution, details=error.details)
