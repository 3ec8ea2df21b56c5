"""Schema-first, CLI-first event sourcing.

Every public name is here and loads its module on first use, so that ``import eskit`` costs
nothing for what is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eskit.app import App as App
    from eskit.app import RunningApp as RunningApp
    from eskit.cqrs.contexts import CommandContext as CommandContext
    from eskit.cqrs.contexts import QueryContext as QueryContext
    from eskit.cqrs.options import CallOptions as CallOptions
    from eskit.cqrs.reactions import Reaction as Reaction
    from eskit.cqrs.reactions import ReactionContext as ReactionContext
    from eskit.domain.claims import claim as claim
    from eskit.domain.claims import release as release
    from eskit.domain.commands import AppendResult as AppendResult
    from eskit.domain.commands import Command as Command
    from eskit.domain.events import Metadata as Metadata
    from eskit.domain.events import NewEvent as NewEvent
    from eskit.domain.events import RecordedEvent as RecordedEvent
    from eskit.domain.streams import ANY as ANY
    from eskit.domain.streams import NO_STREAM as NO_STREAM
    from eskit.domain.streams import STREAM_EXISTS as STREAM_EXISTS
    from eskit.domain.upcasting import upcast as upcast
    from eskit.errors import BrokerMismatch as BrokerMismatch
    from eskit.errors import BrokerRefused as BrokerRefused
    from eskit.errors import BrokerUnavailable as BrokerUnavailable
    from eskit.errors import CallFailed as CallFailed
    from eskit.errors import CheckpointMismatch as CheckpointMismatch
    from eskit.errors import ClaimTaken as ClaimTaken
    from eskit.errors import CommandIdReused as CommandIdReused
    from eskit.errors import CommandRejected as CommandRejected
    from eskit.errors import CredentialsUnavailable as CredentialsUnavailable
    from eskit.errors import DeliveryFailed as DeliveryFailed
    from eskit.errors import EskitError as EskitError
    from eskit.errors import EventErased as EventErased
    from eskit.errors import EventIdReused as EventIdReused
    from eskit.errors import EventUnpublishable as EventUnpublishable
    from eskit.errors import ExportInvalid as ExportInvalid
    from eskit.errors import FoldFailed as FoldFailed
    from eskit.errors import InvalidArgument as InvalidArgument
    from eskit.errors import JetStreamError as JetStreamError
    from eskit.errors import LogBroken as LogBroken
    from eskit.errors import MessagingError as MessagingError
    from eskit.errors import MigrationInvalid as MigrationInvalid
    from eskit.errors import MissingExtra as MissingExtra
    from eskit.errors import MissingPackage as MissingPackage
    from eskit.errors import NotAnEvent as NotAnEvent
    from eskit.errors import NotFound as NotFound
    from eskit.errors import PlaceLost as PlaceLost
    from eskit.errors import ProjectError as ProjectError
    from eskit.errors import ProjectInvalid as ProjectInvalid
    from eskit.errors import ProjectionBusy as ProjectionBusy
    from eskit.errors import ProjectionError as ProjectionError
    from eskit.errors import ProjectionFailed as ProjectionFailed
    from eskit.errors import ProjectionNotFound as ProjectionNotFound
    from eskit.errors import ProjectionPaused as ProjectionPaused
    from eskit.errors import ProjectNotFound as ProjectNotFound
    from eskit.errors import PublishInterrupted as PublishInterrupted
    from eskit.errors import ReadModelDamaged as ReadModelDamaged
    from eskit.errors import ReadModelUnavailable as ReadModelUnavailable
    from eskit.errors import RebuildNeeded as RebuildNeeded
    from eskit.errors import RebuildStopped as RebuildStopped
    from eskit.errors import RecordChanged as RecordChanged
    from eskit.errors import RelayBusy as RelayBusy
    from eskit.errors import RequestTimeout as RequestTimeout
    from eskit.errors import SchemaInvalid as SchemaInvalid
    from eskit.errors import SchemaOutdated as SchemaOutdated
    from eskit.errors import SchemaTooNew as SchemaTooNew
    from eskit.errors import ServiceError as ServiceError
    from eskit.errors import StoreDamaged as StoreDamaged
    from eskit.errors import StoreError as StoreError
    from eskit.errors import StoreNotRecognised as StoreNotRecognised
    from eskit.errors import StoreUnavailable as StoreUnavailable
    from eskit.errors import StreamNotFound as StreamNotFound
    from eskit.errors import SubscriptionTaken as SubscriptionTaken
    from eskit.errors import TargetExists as TargetExists
    from eskit.errors import UnknownEventType as UnknownEventType
    from eskit.errors import UpcastingInvalid as UpcastingInvalid
    from eskit.errors import VersionConflict as VersionConflict
    from eskit.projections.policy import FailurePolicy as FailurePolicy
    from eskit.projections.projection import EventContext as EventContext
    from eskit.projections.projection import Projection as Projection
    from eskit.store.eventstore import EventStore as EventStore
    from eskit.store.open import open_store as open_store
    from eskit.store.snapshotting import SnapshotPolicy as SnapshotPolicy

__version__ = "0.1.0"

_HOMES = {
    "eskit.app": (
        "App",
        "RunningApp",
    ),
    "eskit.cqrs.options": ("CallOptions",),
    "eskit.cqrs.reactions": (
        "Reaction",
        "ReactionContext",
    ),
    "eskit.cqrs.contexts": (
        "CommandContext",
        "QueryContext",
    ),
    "eskit.domain.claims": (
        "claim",
        "release",
    ),
    "eskit.domain.commands": (
        "AppendResult",
        "Command",
    ),
    "eskit.domain.events": (
        "Metadata",
        "NewEvent",
        "RecordedEvent",
    ),
    "eskit.domain.streams": (
        "ANY",
        "NO_STREAM",
        "STREAM_EXISTS",
    ),
    "eskit.domain.upcasting": ("upcast",),
    "eskit.errors": (
        "BrokerMismatch",
        "BrokerRefused",
        "BrokerUnavailable",
        "CallFailed",
        "CheckpointMismatch",
        "ClaimTaken",
        "CommandIdReused",
        "CommandRejected",
        "DeliveryFailed",
        "EskitError",
        "EventErased",
        "EventUnpublishable",
        "EventIdReused",
        "ExportInvalid",
        "FoldFailed",
        "InvalidArgument",
        "CredentialsUnavailable",
        "SubscriptionTaken",
        "PlaceLost",
        "PublishInterrupted",
        "RecordChanged",
        "NotAnEvent",
        "NotFound",
        "JetStreamError",
        "LogBroken",
        "MessagingError",
        "MigrationInvalid",
        "MissingExtra",
        "MissingPackage",
        "ProjectError",
        "ProjectInvalid",
        "ProjectNotFound",
        "ProjectionBusy",
        "ProjectionError",
        "ProjectionFailed",
        "ProjectionNotFound",
        "ProjectionPaused",
        "ReadModelDamaged",
        "ReadModelUnavailable",
        "RebuildNeeded",
        "RebuildStopped",
        "RelayBusy",
        "RequestTimeout",
        "SchemaInvalid",
        "SchemaOutdated",
        "SchemaTooNew",
        "ServiceError",
        "StoreDamaged",
        "StoreError",
        "StoreNotRecognised",
        "StoreUnavailable",
        "StreamNotFound",
        "TargetExists",
        "UnknownEventType",
        "UpcastingInvalid",
        "VersionConflict",
    ),
    "eskit.projections.policy": ("FailurePolicy",),
    "eskit.projections.projection": (
        "EventContext",
        "Projection",
    ),
    "eskit.store.eventstore": ("EventStore",),
    "eskit.store.open": ("open_store",),
    "eskit.store.snapshotting": ("SnapshotPolicy",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ANY",
    "NO_STREAM",
    "STREAM_EXISTS",
    "App",
    "AppendResult",
    "BrokerMismatch",
    "BrokerRefused",
    "BrokerUnavailable",
    "CallFailed",
    "CallOptions",
    "CheckpointMismatch",
    "ClaimTaken",
    "Command",
    "CommandContext",
    "CommandIdReused",
    "CommandRejected",
    "CredentialsUnavailable",
    "DeliveryFailed",
    "EskitError",
    "EventContext",
    "EventErased",
    "EventIdReused",
    "EventStore",
    "EventUnpublishable",
    "ExportInvalid",
    "FailurePolicy",
    "FoldFailed",
    "InvalidArgument",
    "JetStreamError",
    "LogBroken",
    "MessagingError",
    "Metadata",
    "MigrationInvalid",
    "MissingExtra",
    "MissingPackage",
    "NewEvent",
    "NotAnEvent",
    "NotFound",
    "PlaceLost",
    "ProjectError",
    "ProjectInvalid",
    "ProjectNotFound",
    "Projection",
    "ProjectionBusy",
    "ProjectionError",
    "ProjectionFailed",
    "ProjectionNotFound",
    "ProjectionPaused",
    "PublishInterrupted",
    "QueryContext",
    "Reaction",
    "ReactionContext",
    "ReadModelDamaged",
    "ReadModelUnavailable",
    "RebuildNeeded",
    "RebuildStopped",
    "RecordChanged",
    "RecordedEvent",
    "RelayBusy",
    "RequestTimeout",
    "RunningApp",
    "SchemaInvalid",
    "SchemaOutdated",
    "SchemaTooNew",
    "ServiceError",
    "SnapshotPolicy",
    "StoreDamaged",
    "StoreError",
    "StoreNotRecognised",
    "StoreUnavailable",
    "StreamNotFound",
    "SubscriptionTaken",
    "TargetExists",
    "UnknownEventType",
    "UpcastingInvalid",
    "VersionConflict",
    "__version__",
    "claim",
    "open_store",
    "release",
    "upcast",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
