"""Every error eskit raises, in one tree, with the codes that each class stands for.

EskitError                     ERROR, DEMO_FAILED, RESPONSE_INVALID
├── InvalidArgument            INVALID_ARGUMENT: a value that can never work
│   └── Unsupported            UNSUPPORTED: what this kind of store cannot do
├── NotFound                   NOT_FOUND: what a name, a path or a position stands for is not there
├── ProjectError               PROJECT_INVALID: a setting, the app or a template is wrong;
│                              PROJECT_NOT_FOUND, TARGET_EXISTS, PROJECT_ERROR
├── SchemaInvalid              SCHEMA_INVALID: protos that cannot work, with every diagnostic;
│                              GENCODE_UNKNOWN, PROTOBUF_TOO_OLD, SCHEMA_CLASH
├── UnknownEventType           UNKNOWN_EVENT_TYPE: no message class for a stored event type
├── PayloadInvalid             PAYLOAD_INVALID: bytes unlike their type (eskit.domain.messages)
├── RecordedSchemaInvalid      RECORDED_SCHEMA_INVALID: damaged in a store (eskit.schema.recorded)
├── UpcastingInvalid           UPCASTING_INVALID: a gap, a cycle, or a handler never reached
│   └── UpcasterMissing        UPCASTER_MISSING: a deprecated event (eskit.domain.upcasting)
├── FoldFailed                 FOLD_FAILED: a stored event could not be applied to its aggregate
├── CommandRejected            COMMAND_REJECTED: the rules said no: code, message, solution, details
├── StoreError                 STORE_ERROR, SCHEMA_OUTDATED, SCHEMA_TOO_NEW
│   ├── VersionConflict        VERSION_CONFLICT: another writer appended first
│   ├── ClaimTaken             CLAIM_TAKEN: a unique value belongs to another stream
│   ├── CommandIdReused        COMMAND_ID_REUSED: one command id, two different commands
│   ├── EventIdReused          EVENT_ID_REUSED: one event id, two different events
│   ├── StreamNotFound         STREAM_NOT_FOUND
│   ├── EventErased            EVENT_ERASED: its payload was erased for good
│   ├── RecordChanged          RECORD_CHANGED: another process has changed the record
│   ├── ExportInvalid          EXPORT_INVALID: cut short or altered (eskit.operations.export_format)
│   ├── StoreUnavailable       STORE_UNAVAILABLE: cannot be opened, read or written right now;
│   │                          STORE_MOVED, COPY_UNFINISHED: a copy is why it takes no appends
│   └── StoreDamaged           STORE_DAMAGED: it lacks or holds something else than was recorded;
│                              STORE_NOT_RECOGNISED: no eskit store, or too damaged to tell
├── ProjectionError            PROJECTION_ERROR, PROJECTION_NOT_FOUND, PROJECTION_PAUSED,
│   │                          REBUILD_STOPPED
│   ├── ProjectionFailed       PROJECTION_FAILED: a handler raised; the rows stand before that event
│   ├── ProjectionBusy         PROJECTION_BUSY: another process holds the projection
│   ├── ReadModelUnavailable   READ_MODEL_UNAVAILABLE: cannot be opened or written right now;
│   │                          READ_MODEL_DAMAGED: waiting does not help
│   ├── MigrationInvalid       MIGRATION_INVALID: migrations with a gap, an edit or an error
│   ├── RebuildNeeded          REBUILD_NEEDED: the rows were made by another version
│   ├── CheckpointMismatch     CHECKPOINT_MISMATCH: the checkpoint was taken from another log
│   └── CheckpointJumped       CHECKPOINT_JUMPED: a fault, undone (eskit.projections.stretch)
├── MessagingError             MESSAGING_ERROR, BROKER_MISMATCH, CREDENTIALS_UNAVAILABLE, RELAY_BUSY
│   ├── BrokerUnavailable      BROKER_UNAVAILABLE: it cannot be reached;
│   │                          BROKER_REFUSED: it refused the login or the encryption
│   ├── DeliveryFailed         DELIVERY_FAILED: a handler raised again on a parked event;
│   │                          HANDLER_ENDED, PROCESS_ENDED
│   ├── EventUnpublishable     EVENT_UNPUBLISHABLE: no message has room (eskit.messaging.publisher)
│   ├── PublishInterrupted     PUBLISH_INTERRUPTED: it broke off (eskit.nats.publishing)
│   ├── JetStreamError         JETSTREAM_ERROR: JetStream's own errors (eskit.nats.jetstream)
│   ├── LogBroken              LOG_BROKEN: a JetStream stream does not go on as the log did
│   ├── NotAnEvent             NOT_AN_EVENT: no relay has published it (eskit.nats.headers)
│   ├── PlaceLost              PLACE_LOST: it is not known how far a subscription has come
│   ├── SubscriptionTaken      SUBSCRIPTION_TAKEN: another process has taken it over
│   └── RequestTimeout         TIMEOUT: no answer in time; the command may have run
│       └── OutOfTime          OUT_OF_TIME: no answer in time; nothing was done
├── ServiceError               SERVICE_ERROR: a runtime service did not start, stop or stay healthy
├── CallFailed                 CALL_FAILED: a service answered with something but a rejection
└── MissingPackage             MISSING_PACKAGE: a package that eskit brings was left out;
                               MISSING_EXTRA: an optional part is not installed

A class with a module behind it is defined there; all others are defined here.

`code` is the stable identifier that ``--json`` shows. A script tells errors apart by it; a program
catches a class, and compares `code` where one class has several. `message` says what happened in
one sentence; `hint` says what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eskit.raised import error_line

__all__ = [
    "BrokerUnavailable",
    "CallFailed",
    "CheckpointMismatch",
    "ClaimTaken",
    "CommandIdReused",
    "CommandRejected",
    "DeliveryFailed",
    "Diagnostic",
    "EskitError",
    "EventErased",
    "EventIdReused",
    "FoldFailed",
    "InvalidArgument",
    "LogBroken",
    "MessagingError",
    "MigrationInvalid",
    "MissingPackage",
    "NotFound",
    "OutOfTime",
    "PlaceLost",
    "ProjectError",
    "ProjectionBusy",
    "ProjectionError",
    "ProjectionFailed",
    "ReadModelUnavailable",
    "RebuildNeeded",
    "RecordChanged",
    "RequestTimeout",
    "SchemaInvalid",
    "ServiceError",
    "StoreDamaged",
    "StoreError",
    "StoreUnavailable",
    "StreamNotFound",
    "SubscriptionTaken",
    "UnknownEventType",
    "Unsupported",
    "UpcastingInvalid",
    "VersionConflict",
]


class EskitError(Exception):
    """Base of all errors: a sentence for people, a hint, and a code for programs."""

    code: str = "ERROR"
    """On the class: what is meant where the one who raises says nothing else."""

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code


class InvalidArgument(EskitError, ValueError):
    """A value that can never work, whatever the state of the store."""

    code = "INVALID_ARGUMENT"


class Unsupported(InvalidArgument):
    """This kind of store cannot do that; the message says why."""

    code = "UNSUPPORTED"


class NotFound(EskitError):
    """What a name, a path or a position stands for is not there, and might be."""

    code = "NOT_FOUND"


class ProjectError(EskitError):
    """The project on disk is missing or wrong, or something is in the way of a new file."""

    code = "PROJECT_INVALID"


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
    """Protos, or modules made from them, that do not work; carries every diagnostic of protos."""

    code = "SCHEMA_INVALID"

    def __init__(
        self,
        message: str,
        *,
        diagnostics: Sequence[Diagnostic] = (),
        code: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, code=code, hint=hint)
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
            f"Version {version} of {stream}, {event_type}, cannot be applied: {error_line(cause)}",
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


class EventIdReused(StoreError):
    """An event id came back with another stream, type, payload or claims."""

    code = "EVENT_ID_REUSED"

    def __init__(self, event_id: str, *, stream: str = "", position: int = 0) -> None:
        place = f"the event at {position:,}, of {stream}" if stream else "another event"
        super().__init__(
            f"Event id {event_id} is already that of {place}",
            hint="Leave event_id out for a new event; repeat an id only to append the same again.",
        )
        self.event_id = event_id
        self.stream = stream
        self.position = position


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


class RecordChanged(StoreError):
    """A record is not what its writer last saw; nothing was changed."""

    code = "RECORD_CHANGED"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(
            f"The record {kind} {key} was changed by another process meanwhile",
            hint="Load it again, then decide again.",
        )


class StoreUnavailable(StoreError):
    """The store cannot be opened, read or written right now; nothing was changed."""

    code = "STORE_UNAVAILABLE"


class StoreDamaged(StoreError):
    """A store that lacks events or holds something else than was recorded, or that is no store."""

    code = "STORE_DAMAGED"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "See all that is wrong: eskit store verify",
    ) -> None:
        super().__init__(message, code=code, hint=hint)


class ProjectionError(EskitError):
    """Something about a projection or its read model."""

    code = "PROJECTION_ERROR"


class ProjectionFailed(ProjectionError):
    """A handler raised; the read model stands before the event it raised on."""

    code = "PROJECTION_FAILED"


class ProjectionBusy(ProjectionError):
    """Another process is running or rebuilding the projection."""

    code = "PROJECTION_BUSY"


class ReadModelUnavailable(ProjectionError):
    """The read model cannot be opened, read or written: right now, or because it is damaged."""

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
    """NATS cannot be reached, or refuses this process."""

    code = "BROKER_UNAVAILABLE"


class DeliveryFailed(MessagingError):
    """A handler did not come to a good end with an event, which stays unhandled."""

    code = "DELIVERY_FAILED"


class LogBroken(MessagingError):
    """Behind the event at `position` a JetStream stream lacks messages, or has others' in it."""

    code = "LOG_BROKEN"

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(message, hint="The store has every event: follow it instead.")
        self.position = position


class PlaceLost(MessagingError):
    """It is not known how far a reaction or another subscription has come; it does not go on."""

    code = "PLACE_LOST"

    def __init__(self, message: str, *, hint: str = "", revision: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.revision = revision
        """That of what is kept and cannot be read; 0 for nothing."""


class SubscriptionTaken(MessagingError):
    """Another process has taken the subscription over."""

    code = "SUBSCRIPTION_TAKEN"


class RequestTimeout(MessagingError):
    """No answer in time: the command may or may not have run."""

    code = "TIMEOUT"


class OutOfTime(RequestTimeout):
    """The time of a call was over before it could be answered; a command has done nothing."""

    code = "OUT_OF_TIME"


class ServiceError(EskitError):
    """A runtime service did not start, stop or stay healthy."""

    code = "SERVICE_ERROR"


class CallFailed(EskitError):
    """A service answered, but neither with a response nor with a rejection of the rules."""

    code = "CALL_FAILED"

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class MissingPackage(EskitError):
    """A package that is needed now is not installed: one of eskit's own, or of an `extra`."""

    code = "MISSING_PACKAGE"

    def __init__(self, feature: str, package: str, *, extra: str = "") -> None:
        if extra:
            super().__init__(
                f"{feature} needs the optional part {extra!r}",
                code="MISSING_EXTRA",
                hint=f"pip install 'eskit[{extra}]'",
            )
        else:
            super().__init__(
                f"{feature} needs the package {package}, which is not installed",
                hint=f"pip install {package}",
            )
        self.package = package
