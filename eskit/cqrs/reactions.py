"""Reactions: what happened makes the service send commands.

    welcome = Reaction("welcome", start="first")

    @welcome.on(pb.AccountOpenedEvent)
    def opened(event: pb.AccountOpenedEvent, context: ReactionContext) -> None:
        context.execute(pb.DepositCommand(account_id=event.account_id, amount="10.00"))

A reaction is a subscription, so an event may reach it more than once. That changes nothing: the
command's id is derived from the reaction and the event, and a repeated command is answered with
its first response.

User modules import this; it loads neither asyncio nor nats.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from eskit.cqrs.options import CallOptions, ReactionCommandId
from eskit.domain.events import TRACEPARENT
from eskit.domain.messages import message_type
from eskit.errors import CommandRejected, InvalidArgument

if TYPE_CHECKING:
    from datetime import datetime

    from eskit.domain.events import RecordedEvent
    from eskit.domain.upcasting import Upcasters
    from eskit.messaging.subscription import Subscription

AnEvent = TypeVar("AnEvent", bound=Message)
ReactionHandler: TypeAlias = Callable[[Any, "ReactionContext"], None]
"""Called with the decoded event, in its current form, and its context."""


class Executes(Protocol):
    """Whatever carries commands out: an opened application."""

    def execute(self, command: Message, *, options: CallOptions) -> Any:
        """Carry a command out and return its response message."""
        ...

    def find_response(self, command: Message, *, command_id: str, tenant: str) -> Any:
        """What just this command was answered with under an id; None if it was not."""
        ...

    @property
    def earlier_reactions(self) -> int:
        """Up to which position an earlier eskit may have reacted to events."""
        ...


class ReactionContext:
    """What a reaction's handler gets beside the event: the recorded event, and `execute`."""

    def __init__(self, name: str, event: RecordedEvent, app: Executes, principal_id: str) -> None:
        self.event = event
        self._name = name
        self._app = app
        self._principal_id = principal_id or event.metadata.principal_id
        self._sent: set[tuple[str, str]] = set()

    def execute(self, command: Message, *, key: str = "") -> Any:
        """Carry a command out, once for this event however often it comes, and return its response.

        The event is its cause, with the same correlation and tenant. `key` tells apart commands
        of one type that one event leads to. Raises what executing a command raises; whatever the
        handler lets pass is tried again later, and in the end makes the event a dead letter:
        CommandRejected at once, because it is a verdict and no fault. Catch it to do otherwise.
        """
        kind = message_type(command)
        if (kind, key) in self._sent:
            raise InvalidArgument(
                f"Reaction {self._name} sends {kind} twice for one event",
                hint="Give each its own: context.execute(command, key=…)",
            )
        self._sent.add((kind, key))
        metadata = self.event.metadata
        until = self._app.earlier_reactions
        command_id = ReactionCommandId.derive(
            kind, key, name=self._name, event=self.event, until=until
        )
        if command_id.earlier:
            sent = self._app.find_response(
                command, command_id=command_id.earlier, tenant=self.event.tenant
            )
            if sent is not None:
                return sent
        options = CallOptions(
            command_id=command_id,
            correlation_id=metadata.correlation_id,
            causation_id=self.event.event_id,
            principal_id=self._principal_id,
            tenant=self.event.tenant,
            traceparent=metadata.custom.get(TRACEPARENT, ""),
        )
        return self._app.execute(command, options=options)


class Reaction:
    """A durable subscription whose handlers send commands.

    `start` says which events the very first run begins with, and has no default: ``"first"`` those
    of all history, ``"new"`` those from then on, or a position or a time. A handler that raises
    is called again `max_deliveries` times in all, then the event becomes a dead letter; one that
    lets CommandRejected pass is not called again. Commands are sent in the name of
    `principal_id`, or else of the event's own principal.

    >>> from bank.domain.account import Account
    >>> from bank.domain.upcasters import UPCASTERS
    >>> from bank.gen.account.v1 import account_pb2 as pb
    >>> from eskit import App, Reaction
    >>> welcome = Reaction("welcome", start="first")
    >>> @welcome.on(pb.AccountOpenedEvent)
    ... def opened(event, context):
    ...     context.execute(pb.DepositCommand(account_id=event.account_id, amount="5.00"))
    >>> app = App("bank", aggregates=[Account], reactions=[welcome], upcasters=UPCASTERS)
    >>> command = pb.OpenAccountCommand(
    ...     account_id="a-1", owner_name="Alice", initial_balance="10.00"
    ... )
    >>> with app.open("memory://") as running:
    ...     _ = running.execute(command)
    ...     for event in list(running.store.read_all()):
    ...         running.react(welcome, event)
    ...     [event.event_type for event in running.store.read_stream("Account-a-1")]
    ['account.v1.AccountOpenedEvent', 'account.v1.MoneyDepositedEvent']
    """

    def __init__(
        self,
        name: str,
        *,
        start: Literal["first", "new"] | int | datetime,
        max_deliveries: int = 5,
        backoff: Sequence[float] = (0.1, 1.0, 5.0, 15.0),
        principal_id: str = "",
    ) -> None:
        self.name = name
        self._start = start
        self._max_deliveries = max_deliveries
        self._backoff = tuple(backoff)
        self._principal_id = principal_id
        self.handlers: dict[str, ReactionHandler] = {}

    def on(
        self, *events: type[AnEvent]
    ) -> Callable[
        [Callable[[AnEvent, ReactionContext], None]], Callable[[AnEvent, ReactionContext], None]
    ]:
        """Declare the handler of one or more event types; each type has one handler.

        The decorated function stays as it is, so that tests can call it.
        """
        if not events:
            raise InvalidArgument(f"@on in reaction {self.name!r} needs an event type")

        def declare(
            handler: Callable[[AnEvent, ReactionContext], None],
        ) -> Callable[[AnEvent, ReactionContext], None]:
            for event in events:
                self._add(message_type(event), handler)
            return handler

        return declare

    def handle(
        self, event: RecordedEvent, app: Executes, *, upcasters: Upcasters | None = None
    ) -> None:
        """React to one recorded event; nothing happens for a type without a handler."""
        current = upcasters.current_type(event.event_type) if upcasters else event.event_type
        handler = self.handlers.get(current)
        if handler is None or event.erased:
            return
        message = upcasters.decode(event.event_type, event.data) if upcasters else event.message
        handler(message, ReactionContext(self.name, event, app, self._principal_id))

    def subscription(self, upcasters: Upcasters | None = None) -> Subscription:
        """What to subscribe to: the event types with a handler, and older ones read as them."""
        from eskit.messaging.subscription import Subscription  # it loads asyncio

        types = [
            stored
            for current in self.handlers
            for stored in (upcasters.stored_types(current) if upcasters else (current,))
        ]
        if not types:
            raise InvalidArgument(f"Reaction {self.name!r} handles no event")
        return Subscription(
            name=self.name,
            start=self._start,
            event_types=types,
            max_deliveries=self._max_deliveries,
            backoff=self._backoff,
            give_up_on=(CommandRejected,),
        )

    def __repr__(self) -> str:
        return f"Reaction({self.name!r})"

    def _add(self, event_type: str, handler: ReactionHandler) -> None:
        if inspect.iscoroutinefunction(handler):
            raise InvalidArgument(
                f"The handler of {event_type} in reaction {self.name!r} is a coroutine function",
                hint="Write it with def: it runs in a thread of its own.",
            )
        if event_type in self.handlers:
            raise InvalidArgument(
                f"Reaction {self.name!r} has two handlers for {event_type}",
                hint="Keep one handler for each event type; it may call several functions.",
            )
        self.handlers[event_type] = handler
