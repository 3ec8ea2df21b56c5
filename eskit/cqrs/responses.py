"""The answer on the wire: ``eventsourcing.Response``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType

from google.protobuf.message import Message

from eskit.domain.messages import encode, message_type
from eskit.errors import (
    CallFailed,
    CheckpointMismatch,
    ClaimTaken,
    CommandIdReused,
    CommandRejected,
    EskitError,
    InvalidArgument,
    MigrationInvalid,
    ProjectionBusy,
    ProjectionError,
    ProjectionFailed,
    ReadModelUnavailable,
    RebuildNeeded,
    RequestTimeout,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    VersionConflict,
)
from eskit.raised import shortened
from eskit.schema.response_pb2 import AppError, Response

_LONGEST_TEXT = 10_000
_LONGEST_DETAIL = 1_000
_MOST_DETAILS = 100

INVALID_REQUEST = "INVALID_REQUEST"
INVALID_MESSAGE_TYPE = "INVALID_MESSAGE_TYPE"
REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
OVERLOADED = "OVERLOADED"
HANDLER_TIMEOUT = "HANDLER_TIMEOUT"
INTERNAL_ERROR = "INTERNAL_ERROR"
VALIDATION_FAILED = "VALIDATION_FAILED"

_UNAVAILABLE: tuple[tuple[type[EskitError], str, str], ...] = (
    (StoreUnavailable, "", "The event store cannot be used now; nothing was changed"),
    (StoreDamaged, "", "The event store is damaged"),
    (StoreDamaged, "STORE_NOT_RECOGNISED", "The event store cannot be read"),
    (ProjectionFailed, "", "A projection that answers this has failed"),
    (ProjectionError, "PROJECTION_PAUSED", "A projection that answers this is paused"),
    (ProjectionBusy, "", "A projection that answers this is still catching up"),
    (CheckpointMismatch, "", "The rows that answer this were made from another log"),
    (RebuildNeeded, "", "The read model that answers this must be rebuilt first"),
    (MigrationInvalid, "", "The migrations of a projection that answers this do not fit"),
    (ReadModelUnavailable, "", "The read model that answers this cannot be used"),
    (ReadModelUnavailable, "READ_MODEL_DAMAGED", "The read model that answers this is damaged"),
)
UNAVAILABLE: Mapping[str, tuple[type[EskitError], str]] = MappingProxyType(
    {code or error.code: (error, told) for error, code, told in _UNAVAILABLE}
)
"""By code: conditions that whoever runs the service can fix, and what callers are told."""

FAILURES = UNAVAILABLE.keys() | {
    INVALID_REQUEST,
    INVALID_MESSAGE_TYPE,
    REQUEST_TOO_LARGE,
    OVERLOADED,
    HANDLER_TIMEOUT,
    INTERNAL_ERROR,
}
"""Codes of the service itself; every other code is a verdict of the rules or of the log."""

VERDICTS: tuple[type[EskitError], ...] = (
    CommandRejected,
    VersionConflict,
    ClaimTaken,
    CommandIdReused,
)
"""With these the rules or the log say no; anything else that is raised is a fault."""


def success(message: Message) -> Response:
    """A response that carries `message`; InvalidArgument for one that could not be read."""
    response = Response(success=True)
    response.data.type_url = f"type.googleapis.com/{message_type(message)}"
    response.data.value = encode(message)
    return response


def failure(
    code: str, message: str, *, solution: str = "", details: Mapping[str, str] | None = None
) -> Response:
    """A response that says why there is no answer; texts that nobody would read to the end are cut.

    A response that is too large for NATS would never arrive.
    """
    error = AppError(
        code=_sendable(code, _LONGEST_DETAIL),
        message=_sendable(message, _LONGEST_TEXT),
        solution=_sendable(solution, _LONGEST_TEXT),
        details={
            _sendable(name, _LONGEST_DETAIL): _sendable(value, _LONGEST_DETAIL)
            for name, value in islice((details or {}).items(), _MOST_DETAILS)
        },
    )
    return Response(success=False, error=error)


def _sendable(text: object, longest: int) -> str:
    """What rules say, whatever they say it with: not too long, and as UTF-8 can hold it."""
    return shortened(str(text), longest).encode(errors="backslashreplace").decode()


def as_rejection(error: Exception) -> CommandRejected | None:
    """A verdict as it travels; None if `error` is no verdict but a fault.

    Conflicts and taken claims are verdicts of the log. They travel like those of the rules, with
    what the receiver needs to raise them again.
    """
    if isinstance(error, CommandRejected):
        return error
    if isinstance(error, VersionConflict):
        details = {
            "stream": error.stream,
            "expected": str(error.expected),
            "actual": str(error.actual),
        }
    elif isinstance(error, ClaimTaken):
        details = {"index": error.index, "value": error.value, "owner": error.owner}
    elif isinstance(error, CommandIdReused):
        details = {"command_id": error.command_id, "stream": error.stream}
    else:
        return None
    return CommandRejected(error.code, error.message, solution=error.hint, details=details)


def as_unavailable(error: Exception) -> EskitError | None:
    """What a caller may know of a store or read model that is away; None for other errors.

    It has the same class and code. Its own sentence stays with the service: it can quote what a
    handler raised, ids and paths.
    """
    if not isinstance(error, EskitError) or error.code not in UNAVAILABLE:
        return None
    kind, told = UNAVAILABLE[error.code]
    of_the_store = isinstance(error, StoreError)
    return kind(
        told,
        code=error.code,
        hint="Try again later, or tell whoever runs the service: its log says why."
        if of_the_store
        else "Tell whoever runs the service: eskit project status says more.",
    )


def unpack(response: Response, expected: type[Message]) -> Message:
    """The message in a response.

    Raises what the handler was answered with: a verdict (CommandRejected, VersionConflict,
    ClaimTaken, CommandIdReused), InvalidArgument, RequestTimeout, what is unavailable
    (StoreUnavailable, ProjectionFailed and the like), or CallFailed for any other failure of the
    service and for an answer that is not an `expected`.
    """
    if not response.success:
        raise raised_there(response.error)
    message = expected()
    if not response.data.Unpack(message):
        raise CallFailed(
            "INVALID_RESPONSE",
            f"The service answered with {response.data.type_url or 'nothing'}, "
            f"not with {message_type(expected)}",
            hint="Client and service were generated from different protos.",
        )
    return message


def raised_there(error: AppError) -> EskitError:
    """The error that the service was told of in these words."""
    code = error.code or "UNKNOWN"
    message = error.message or "The operation failed without an error message"
    hint = error.solution
    if code in {INVALID_REQUEST, REQUEST_TOO_LARGE}:
        return InvalidArgument(message, hint=hint)
    if code == HANDLER_TIMEOUT:
        return RequestTimeout(message, hint=hint)
    if code in UNAVAILABLE:
        return UNAVAILABLE[code][0](message, code=code, hint=hint)
    if code in FAILURES or not error.code:
        return CallFailed(code, message, hint=hint)
    rejection = CommandRejected(code, message, solution=hint, details=error.details)
    return _verdict_of_the_log(rejection) or rejection


def _verdict_of_the_log(rejection: CommandRejected) -> EskitError | None:
    """What the log refused; None for a rejection by the rules, whatever they call it."""
    details = rejection.details
    match rejection.rejection, details:
        case VersionConflict.code, {"stream": stream, "expected": expected, "actual": actual}:
            if _is_version(actual):
                wanted = int(expected) if _is_version(expected) else expected
                return VersionConflict(stream, wanted, int(actual))
        case ClaimTaken.code, {"index": index, "value": value, "owner": owner}:
            return ClaimTaken(index, value, owner)
        case CommandIdReused.code, {"command_id": command_id, "stream": stream}:
            return CommandIdReused(command_id, stream)
    return None


def _is_version(text: str) -> bool:
    # Python refuses to parse thousands of digits.
    return text.isascii() and text.isdigit() and len(text) < len(str(2**63))
