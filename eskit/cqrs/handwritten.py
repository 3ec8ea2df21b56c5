"""Command services written by hand: the handler loads what it needs and appends one aggregate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.cqrs.contexts import AnAggregate, CommandContext
from eskit.cqrs.deadline import Deadline
from eskit.cqrs.dispatch import first_reply, message_context, retry_on_conflict
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.services import check_response, run_users
from eskit.domain.aggregate import AnyAggregate, enter_context, pending_events, stream_of
from eskit.domain.commands import Command, fingerprint
from eskit.domain.context import MessageContext
from eskit.domain.ids import new_id
from eskit.domain.messages import encode
from eskit.domain.services import Method
from eskit.domain.upcasting import Upcasters
from eskit.errors import CommandIdReused, InvalidArgument, VersionConflict
from eskit.store.eventstore import EventStore
from eskit.store.repository import Repository
from eskit.store.snapshotting import Snapshotter

MethodHandler = Callable[[Any, CommandContext], Any]


def run_handler(
    handler: MethodHandler,
    method: Method,
    request: Message,
    options: CallOptions,
    *,
    store: EventStore,
    upcasters: Upcasters | None = None,
    snapshots: Snapshotter | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Reply:
    """Call a handler and append what it staged, together with its response.

    A repeated command id is answered with the first response; a handler that staged nothing is
    not remembered. Raises what the handler raises, what an append raises, and OutOfTime.
    """
    deadline = Deadline(method, options.timeout, clock=clock)
    deadline.check()
    context = message_context(options, options.command_id or new_id(), clock.now)
    identity = fingerprint(method.full_name, request)

    def attempt() -> Reply:
        if options.command_id and (
            record := store.for_tenant(context.tenant).find_command(context.command_id)
        ):
            if record.fingerprint != identity:
                raise CommandIdReused(record.id, record.stream)
            return first_reply(method, record.response, record.global_position)
        workspace = _Workspace(store, upcasters, snapshots, context)
        response = run_users(handler, request, _handler_context(context, workspace))
        check_response(method, response, method.path)
        deadline.check()
        position = workspace.commit(
            Command(
                id=context.command_id,
                fingerprint=identity,
                response=encode(response),
            ),
            expected_version=options.expected_version,
        )
        return Reply(message=response, global_position=position)

    if options.expected_version is not None:
        return attempt()
    return retry_on_conflict(attempt, deadline)


def _handler_context(context: MessageContext, workspace: _Workspace) -> CommandContext:
    return CommandContext(
        command_id=context.command_id,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        principal_id=context.principal_id,
        tenant=context.tenant,
        now=context.now,
        traceparent=context.traceparent,
        workspace=workspace,
    )


class _Workspace:
    """The aggregates of one run of a handler."""

    def __init__(
        self,
        store: EventStore,
        upcasters: Upcasters | None,
        snapshots: Snapshotter | None,
        context: MessageContext,
    ) -> None:
        self._store = store
        self._upcasters = upcasters
        self._snapshots = snapshots
        self._context = context
        self._staged: AnyAggregate | None = None

    def load(self, aggregate_class: type[AnAggregate], aggregate_id: str, /) -> AnAggregate:
        repository = self._repository(aggregate_class)
        aggregate = repository.for_tenant(self._context.tenant).find(aggregate_id)
        aggregate = aggregate or aggregate_class(aggregate_id)
        enter_context(aggregate, self._context)
        return aggregate

    def append(self, aggregate: AnyAggregate, /) -> None:
        if self._staged not in (None, aggregate):
            raise InvalidArgument(
                "A command appends to one stream",
                hint="Let a subscription to the first event send the second command.",
            )
        self._staged = aggregate

    def commit(self, command: Command, *, expected_version: int | None) -> int:
        """Append what was staged; the position of its last event, 0 if nothing was."""
        aggregate = self._staged
        if aggregate is None:
            return 0
        events = pending_events(aggregate)
        loaded = aggregate.version - len(events)
        if expected_version not in (None, loaded):
            raise VersionConflict(stream_of(aggregate), expected_version, loaded)
        result = self._store.for_tenant(self._context.tenant).append(
            stream_of(aggregate),
            events,
            expected_version=loaded,
            command=command,
        )
        repository = self._repository(type(aggregate)).for_tenant(self._context.tenant)
        repository.appended(aggregate, result)
        return result.global_position

    def _repository(self, aggregate_class: type[AnAggregate]) -> Repository[AnAggregate]:
        return Repository(self._store, aggregate_class, self._upcasters, snapshots=self._snapshots)
