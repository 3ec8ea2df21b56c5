"""Schema-first, CLI-first event sourcing.

Every public name is here and loads its module on first use, so that ``import eskit`` costs
nothing for what is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eskit.domain.claims import Claim as Claim
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
    from eskit.store.eventstore import EventStore as EventStore

__version__ = "0.1.0"
