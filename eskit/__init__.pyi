from eskit.app import App as App
from eskit.app import RunningApp as RunningApp
from eskit.cqrs.contexts import CommandContext as CommandContext
from eskit.cqrs.contexts import QueryContext as QueryContext
from eskit.cqrs.options import CallOptions as CallOptions
from eskit.cqrs.reactions import Reaction as Reaction
from eskit.cqrs.reactions import ReactionContext as ReactionContext
from eskit.domain.aggregate import Aggregate as Aggregate
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
from eskit.projections.postgres.database import PostgresDatabase as PostgresDatabase
from eskit.projections.projection import EventContext as EventContext
from eskit.projections.projection import Projection as Projection
from eskit.store.eventstore import EventStore as EventStore
from eskit.store.open import open_store as open_store
from eskit.store.snapshotting import SnapshotPolicy as SnapshotPolicy

__version__: str
