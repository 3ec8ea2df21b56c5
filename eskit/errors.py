"""Every error eskit raises, in one tree.

EskitError
├── InvalidArgument            a name, id, version or option that can never work
├── ProjectError
│   ├── ProjectNotFound        no [tool.eskit] here or above
│   ├── ProjectInvalid         a setting, the app or a template is wrong
│   └── TargetExists           something is already where a new file should go
├── SchemaInvalid              protos that cannot work, with every diagnostic
├── UnknownEventType           no message class for a stored event type
├── UpcastingInvalid           a chain of upcasters with a gap or a cycle
├── FoldFailed                 a stored event could not be applied to its aggregate
├── CommandRejected            the rules said no: code, message, solution, details
├── StoreError
│   ├── VersionConflict        somebody else appended first
│   ├── ClaimTaken             a unique value belongs to another stream
│   ├── CommandIdReused        one command id, two different commands
│   ├── StreamNotFound
│   ├── EventErased            its payload was erased for good, only its place is left
│   ├── ExportInvalid          an export that is cut short, altered or of a newer format
│   ├── StoreUnavailable       cannot be opened, read or written right now
│   ├── StoreNotRecognised     the file is not an eskit store, or is damaged
│   ├── SchemaOutdated         the store needs `eskit store migrate`
│   └── SchemaTooNew           the store was written by a newer eskit
├── ProjectionError
│   ├── ProjectionNotFound
│   ├── ProjectionFailed       a handler raised; the model stands before that event
│   ├── ProjectionBusy         another process holds the projection
│   ├── ProjectionPaused       somebody has paused it
│   ├── ReadModelUnavailable   the read model cannot be opened or written
│   ├── MigrationInvalid       a read model's migrations have a gap, an edit or an error
│   ├── RebuildNeeded          the rows were made by another version of the projection
│   └── CheckpointMismatch     the log is not the one the checkpoint was taken from
├── MessagingError
│   ├── BrokerUnavailable      NATS cannot be reached, or refused the credentials
│   ├── BrokerMismatch         the JetStream stream belongs to another store, or differs
│   ├── JetStreamError         JetStream answered a request with an error
│   ├── NotAnEvent             a message in the stream that no relay has published
│   ├── PublishInterrupted     publishing broke off; the relay asks the stream how far it came
│   ├── RelayBusy              another relay of the store is running
│   ├── SubscriptionTaken      another process has taken the subscription over
│   └── RequestTimeout         no answer in time; the command may have run
├── CredentialsUnavailable     a login for NATS cannot be read
├── ServiceError               a runtime service did not start, stop or stay healthy
├── CallFailed                 a remote service answered with something other than a rejection
└── MissingExtra               an optional part is not installed

`code` is the stable identifier that ``--json`` shows; `message` says what happened in one
sentence; `hint` says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

__all__ = [
    "BrokerMismatch",
    "BrokerUnavailable",
    "CallFailed",
    "CheckpointMismatch",
    "ClaimTaken",
    "CommandIdReused",
    "CommandRejected",
    "CredentialsUnavailable",
    "Diagnostic",
    "EskitError",
    "EventErased",
    "ExportInvalid",
    "FoldFailed",
    "InvalidArgument",
    "JetStreamError",
    "MessagingError",
    "MigrationInvalid",
    "MissingExtra",
    "NotAnEvent",
    "ProjectError",
    "ProjectInvalid",
    "ProjectNotFound",
    "ProjectionBusy",
    "ProjectionError",
    "ProjectionFailed",
    "ProjectionNotFound",
    "ProjectionPaused",
    "PublishInterrupted",
    "ReadModelUnavailable",
    "RebuildNeeded",
    "RelayBusy",
    "RequestTimeout",
    "SchemaInvalid",
    "SchemaOutdated",
    "SchemaTooNew",
    "ServiceError",
    "StoreError",
    "StoreNotRecognised",
    "StoreUnavailable",
    "StreamNotFound",
    "SubscriptionTaken",
    "TargetExists",
    "UnknownEventType",
    "UpcastingInvalid",
    "VersionConflict",
]


class EskitError(Exception):
    """Base of all errors: a sentence for people, a hint, and a code for programs."""

    code: ClassVar[str] = "ERROR"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidArgument(EskitError, ValueError):
    """A value that can never work, whatever the state of the store."""

    code = "INVALID_ARGUMENT"


class ProjectError(EskitError):
    """The project on disk is missing or wrong."""

    code = "PROJECT_ERROR"


class ProjectNotFound(ProjectError):
    """No eskit project in the folder or above it."""

    code = "PROJECT_NOT_FOUND"


class ProjectInvalid(ProjectError):
    """A setting, the application object or a template does not work."""

    code = "PROJECT_INVALID"


class TargetExists(ProjectError):
    """A file or folder is already where something new should be written."""

    code = "TARGET_EXISTS"


class Diagnostic(NamedTuple):
    """One finding about a source file: where it is, what is wrong, what to do.

    Lines and columns count from 1; 0 means unknown. `width` is how many columns the
    offending text takes.
    """

    code: str
    message: str
    severity: str = "error"
    hint: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    width: int = 1


class SchemaInvalid(EskitError):
    """Protos that cannot be generated from; carries every diagnostic, not the first."""

    code = "SCHEMA_INVALID"

    def __init__(
        self, message: str, *, diagnostics: Sequence[Diagnostic] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.diagnostics = tuple(diagnostics)


class UnknownEventType(EskitError):
    """A stored event type for which no message class is loaded."""

    code = "UNKNOWN_EVENT_TYPE"

    def __init__(self, event_type: str) -> None:
        super().__init__(
            f"No message class for event type {event_type!r}",
            hint="Import the generated module that defines it, or run: eskit gen",
        )
        self.event_type = event_type


class UpcastingInvalid(EskitError):
    """Upcasters that form a cycle, end in a gap, or leave a deprecated event uncovered."""

    code = "UPCASTING_INVALID"


class FoldFailed(EskitError):
    """A stored event that could not be applied: its payload, an upcaster or its method failed.

    What was raised is the cause.
    """

    code = "FOLD_FAILED"

    def __init__(self, stream: str, version: int, event_type: str, cause: Exception) -> None:
        super().__init__(
            f"Version {version} of {stream}, {event_type}, cannot be applied: "
            f"{type(cause).__name__}: {cause}",
            hint=f"See the event: eskit stream read {stream} --after {version - 1} --limit 1",
        )
        self.stream = stream
        self.version = version
        self.event_type = event_type


class CommandRejected(EskitError):
    """The rules of an aggregate refused a command.

    On the wire this is ``eventsourcing.AppError``: the same four fields.
    """

    code = "COMMAND_REJECTED"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        solution: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=solution)
        self.rejection = code
        self.solution = solution
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} ({self.rejection})"


class StoreError(EskitError):
    """Something about the event store."""

    code = "STORE_ERROR"


class VersionConflict(StoreError):
    """The stream is not at the version the writer last saw."""

    code = "VERSION_CONFLICT"

    def __init__(self, stream: str, expected: object, actual: int) -> None:
        super().__init__(
            f"{stream} is at version {actual}, expected {expected}",
            hint="Load the stream again and decide on its current state.",
        )
        self.stream = stream
        self.expected = expected
        self.actual = actual


class ClaimTaken(StoreError):
    """A unique value is already claimed by another stream."""

    code = "CLAIM_TAKEN"

    def __init__(self, index: str, value: str, owner: str) -> None:
        super().__init__(
            f"{index} {value!r} is already claimed by {owner}",
            hint=f"Choose another {index}, or let {owner} release it first.",
        )
        self.index = index
        self.value = value
        self.owner = owner


class CommandIdReused(StoreError):
    """A command id came back with another method, request or stream."""

    code = "COMMAND_ID_REUSED"

    def __init__(self, command_id: str, stream: str) -> None:
        super().__init__(
            f"Command id {command_id!r} was already used for a different command on {stream}",
            hint="Give every command its own id; repeat an id only to resend the same command.",
        )
        self.command_id = command_id
        self.stream = stream


class StreamNotFound(StoreError):
    """No event was ever appended to the stream."""

    code = "STREAM_NOT_FOUND"

    def __init__(self, stream: str, *, hint: str = "") -> None:
        super().__init__(f"No stream {stream!r}", hint=hint)
        self.stream = stream


class EventErased(StoreError):
    """The payload of an event was erased for good; its place in the log is all that is left."""

    code = "EVENT_ERASED"

    def __init__(self, stream: str, version: int) -> None:
        super().__init__(
            f"Version {version} of {stream} was erased",
            hint="Check `event.erased` before reading the message of an event.",
        )
        self.stream = stream
        self.version = version


class ExportInvalid(StoreError):
    """An export that is cut short, altered, or of a format that this eskit does not know."""

    code = "EXPORT_INVALID"


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written right now; nothing was changed."""

    code = "STORE_UNAVAILABLE"


class StoreNotRecognised(StoreError):
    """The file is not an eskit store, or too damaged to tell."""

    code = "STORE_NOT_RECOGNISED"


class SchemaOutdated(StoreError):
    """The store was written by an older eskit."""

    code = "SCHEMA_OUTDATED"


class SchemaTooNew(StoreError):
    """The store was written by a newer eskit."""

    code = "SCHEMA_TOO_NEW"


class ProjectionError(EskitError):
    """Something about a projection or its read model."""

    code = "PROJECTION_ERROR"


class ProjectionNotFound(ProjectionError):
    """The app has no projection of that name."""

    code = "PROJECTION_NOT_FOUND"


class ProjectionFailed(ProjectionError):
    """A handler raised; the read model stands before the event it raised on."""

    code = "PROJECTION_FAILED"


class ProjectionBusy(ProjectionError):
    """Another process is running or rebuilding the projection."""

    code = "PROJECTION_BUSY"


class ProjectionPaused(ProjectionError):
    """Somebody has paused the projection; its rows stay as they are until it is resumed."""

    code = "PROJECTION_PAUSED"


class ReadModelUnavailable(ProjectionError):
    """The read model cannot be opened, read or written right now."""

    code = "READ_MODEL_UNAVAILABLE"


class MigrationInvalid(ProjectionError):
    """The migrations of a read model have a gap, were edited after use, or do not run."""

    code = "MIGRATION_INVALID"


class RebuildNeeded(ProjectionError):
    """The rows were made by another version of the projection; following on would mix the two."""

    code = "REBUILD_NEEDED"


class CheckpointMismatch(ProjectionError):
    """The log is not the one the checkpoint was taken from."""

    code = "CHECKPOINT_MISMATCH"


class MessagingError(EskitError):
    """Something between this process and NATS."""

    code = "MESSAGING_ERROR"


class BrokerUnavailable(MessagingError):
    """NATS cannot be reached, or refused the credentials."""

    code = "BROKER_UNAVAILABLE"


class BrokerMismatch(MessagingError):
    """The JetStream stream is fed by another store or configured differently."""

    code = "BROKER_MISMATCH"


class JetStreamError(MessagingError):
    """JetStream answered a request with an error, told apart by its number."""

    code = "JETSTREAM_ERROR"

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class NotAnEvent(MessagingError):
    """A message that does not carry the headers of an eskit event."""

    code = "NOT_AN_EVENT"


class PublishInterrupted(MessagingError):
    """Publishing broke off in the middle: ask the outlet how far it came."""

    code = "PUBLISH_INTERRUPTED"


class RelayBusy(MessagingError):
    """Another relay of the store is running: one publishes at a time."""

    code = "RELAY_BUSY"


class SubscriptionTaken(MessagingError):
    """Another process has taken the subscription over."""

    code = "SUBSCRIPTION_TAKEN"


class RequestTimeout(MessagingError):
    """No answer in time: the command may or may not have run."""

    code = "TIMEOUT"


class CredentialsUnavailable(EskitError):
    """The login for NATS cannot be read from where it is kept."""

    code = "CREDENTIALS_UNAVAILABLE"


class ServiceError(EskitError):
    """A runtime service did not start, stop or stay healthy."""

    code = "SERVICE_ERROR"


class CallFailed(EskitError):
    """A service answered, but neither with a response nor with a rejection of the rules."""

    code = "CALL_FAILED"

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class MissingExtra(EskitError):
    """An optional part of eskit is not installed."""

    code = "MISSING_EXTRA"

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the optional part {extra!r}",
            hint=f"pip install 'eskit[{extra}]'",
        )
        self.extra = extra
