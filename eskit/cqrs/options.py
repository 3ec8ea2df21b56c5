"""What a caller may say about a command or query besides its message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from google.protobuf.message import Message

from eskit.domain.commands import is_reaction_id, reaction_command_id
from eskit.domain.events import RecordedEvent
from eskit.domain.ids import derived_id
from eskit.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Who calls, on whose behalf, and how long they wait.

    A command without `command_id` gets a new one; sending a command again with the same id is safe
    and returns the first response. `timeout` is in seconds. With `expected_version` the call
    raises VersionConflict unless the stream is at that version. A query waits for read models to
    pass position `at_least`, such as that of a command's Reply; by default, to pass every event so
    far. 0 does not wait.
    """

    command_id: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    principal_id: str = ""
    tenant: str = ""
    timeout: float = 30.0
    expected_version: int | None = None
    traceparent: str = ""
    at_least: int | None = None

    def __post_init__(self) -> None:
        if is_reaction_id(self.command_id) and not isinstance(self.command_id, ReactionCommandId):
            raise InvalidArgument(
                f"{self.command_id!r} is an id that only a reaction may give a command",
                hint="Choose another command id, or none.",
            )


class ReactionCommandId(str):
    """The id of a command that a reaction sends; what comes from outside is never one.

    `earlier` is the id that an earlier eskit would have given it, where it may have done so.
    """

    __slots__ = ("earlier",)
    earlier: str

    @classmethod
    def derive(cls, *parts: str, name: str, event: RecordedEvent, until: int) -> Self:
        """The same id for the same parts of a reaction to an event.

        For events up to position `until` an earlier eskit may have sent the command before.
        """
        unique = derived_id("reaction", name, event.event_id, *parts)
        found = cls(reaction_command_id(name, event.global_position, unique))
        found.earlier = unique if event.global_position <= until else ""
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and how far the log had come when it was given.

    `global_position` is that of the command's last event; a read model that has passed it shows
    the command's effect. It is 0 for queries.
    """

    message: Message
    global_position: int = 0
    already_processed: bool = False
