"""Schema-first, CLI-first event sourcing.

The names that an application is written with are here; errors are in `eskit.errors`. Each loads its
module on first use, so that ``import eskit`` costs nothing for what is not used.
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
    "CallOptions",
    "Command",
    "CommandContext",
    "EventContext",
    "EventStore",
    "FailurePolicy",
    "Metadata",
    "NewEvent",
    "Projection",
    "QueryContext",
    "Reaction",
    "ReactionContext",
    "RecordedEvent",
    "RunningApp",
    "SnapshotPolicy",
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
