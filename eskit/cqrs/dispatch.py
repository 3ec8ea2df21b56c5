"""Commands to aggregates: load, decide, append; once for a command id, again on a conflict."""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.cqrs.answers import answered, settle
from eskit.cqrs.deadline import Deadline
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.services import check_response, run_users
from eskit.domain.aggregate import AnyAggregate, enter_context, pending_events
from eskit.domain.commands import AppendResult, Command, fingerprint
from eskit.domain.context import MessageContext
from eskit.domain.ids import derived_id, new_id
from eskit.domain.messages import encode
from eskit.domain.services import Method
from eskit.domain.streams import check_tenant, stream_name
from eskit.domain.upcasting import Upcasters
from eskit.errors import (
    CommandIdReused,
    CommandRejected,
    InvalidArgument,
    VersionConflict,
)
from eskit.store.eventstore import EventStore
from eskit.store.repository import Repository
from eskit.store.snapshotting import Snapshotter
from eskit.store.state_cache import StateCache

Appended = TypeVar("Appended")

_BACKOFF = (0.010, 0.160)
"""Seconds between two attempts when another process appended first: at first, and at most."""
StreamKey: TypeAlias = tuple[str, str]
"""Tenant and name of a stream."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


def decide(
    aggregate: AnyAggregate, method: Method, command: Message, context: MessageContext
) -> Message:
    """Run one command method on a loaded aggregate and return its response.

    What it emitted is in `pending_events(aggregate)`. Raises CommandRejected.
    """
    enter_context(aggregate, context)
    try:
        response: Message = run_users(getattr(aggregate, method.python_name), command)
    finally:
        enter_context(aggregate, None)
    check_response(method, response, f"{type(aggregate).__name__}.{method.python_name}")
    return response


def creates(aggregate: type[AnyAggregate], command: type[Message]) -> bool:
    """Whether commands of this class name no aggregate, but create one."""
    return aggregate.__aggregate__.id_field not in command.DESCRIPTOR.fields_by_name


def aggregate_id_of(aggregate: type[AnyAggregate], command: Message, command_id: str) -> str:
    """The id of the aggregate that a command is for.

    It stands in the command's field called like the aggregate's `id_field`. A command without
    that field creates: its id is derived from the command id, so that a resend reaches the same
    stream. Raises CommandRejected INVALID_ID for an id that is empty or no stream may have.
    """
    if creates(aggregate, type(command)):
        return derived_id(command_id)
    field = aggregate.__aggregate__.id_field
    aggregate_id: str = getattr(command, field)
    try:
        stream_name(aggregate.__aggregate__.name, aggregate_id)
    except InvalidArgument as error:
        reason = error.message if aggregate_id else f"{field} is empty"
        raise CommandRejected("INVALID_ID", reason, solution=f"Set {field}.") from error
    return aggregate_id


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One command on its way: everything that stays the same when it is decided again."""

    aggregate: type[AnyAggregate]
    method: Method
    request: Message
    aggregate_id: str
    stream: str
    context: MessageContext
    fingerprint: str
    expected_version: int | None
    deadline: Deadline
    resent: bool
    creates: bool

    @property
    def lock(self) -> StreamKey:
        """What only one at a time may hold."""
        return self.context.tenant, self.stream


class _Decision(NamedTuple):
    """What a command came to, to be appended to a stream that is still at `version`."""

    aggregate: AnyAggregate
    version: int
    response: Message
    command: Command


class Dispatcher:
    """Runs the commands of a set of aggregates against one store. Thread-safe."""

    def __init__(
        self,
        store: EventStore,
        aggregates: Iterable[type[AnyAggregate]],
        *,
        upcasters: Upcasters | None = None,
        snapshots: Snapshotter | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._clock = clock
        self._locks = _StreamLocks()
        self._aggregates: Mapping[str, type[AnyAggregate]] = {
            method.full_name: aggregate
            for aggregate in aggregates
            for method in aggregate.__aggregate__.commands
        }
        cache = StateCache()
        self._repositories = {
            aggregate: Repository(store, aggregate, upcasters, snapshots=snapshots, cache=cache)
            for aggregate in self._aggregates.values()
        }

    def answers(self, method: Method) -> bool:
        """Whether an aggregate answers the method."""
        return method.full_name in self._aggregates

    def submit(
        self,
        method: Method,
        request: Message,
        options: CallOptions,
        executor: Executor | None = None,
    ) -> Future[Reply]:
        """Carry a command out; the future has its response.

        Without an executor that is done on return. With one no thread waits for the commit; a
        command that cannot be appended as it was decided is decided again in the executor, which
        may wait. The future has CommandRejected, ClaimTaken, CommandIdReused, StoreUnavailable;
        VersionConflict when the caller named an expected version; OutOfTime when other writers
        were faster every time, or when it was not decided in time.
        """
        work = self._prepare(method, request, options)
        if executor is None:
            return answered(self._carry_out, work)
        context = copy_context()

        def again(answer: Future[Reply]) -> None:
            executor.submit(lambda: context.run(self._carry_out_again, work, answer))

        self._take_stream(work)
        try:
            decision = self._decide(work, new=work.creates)
            submitted = self._append(self._store_of(work).submit, work, decision)
        except BaseException as error:
            self._locks.give_back(work.lock)
            if not isinstance(error, Exception):
                raise
            return answered(self._decide_otherwise, work, error)
        answer = Future[Reply]()
        submitted.add_done_callback(partial(self._answer, answer, work, decision, again))
        return answer

    def _answer(
        self,
        answer: Future[Reply],
        work: _Work,
        decision: _Decision,
        again: Callable[[Future[Reply]], object],
        submitted: Future[AppendResult],
    ) -> None:
        """Called in the thread that commits: it must not wait."""
        self._locks.give_back(work.lock)
        try:
            reply = self._appended(work, decision, submitted.result())
        except Exception:  # noqa: BLE001 - if it is committed after all the first reply is found
            again(answer)
        else:
            answer.set_result(reply)

    def _carry_out_again(self, work: _Work, answer: Future[Reply]) -> None:
        settle(answer, self._carry_out, replace(work, resent=True))

    def _decide_otherwise(self, work: _Work, error: Exception) -> Reply:
        """The reply to a command that its first decision does not lead to."""
        if work.creates:
            return self._carry_out(replace(work, resent=True))
        if first := self._find_first_reply(work):
            return first
        raise error

    def _carry_out(self, work: _Work) -> Reply:
        def attempt(*, new: bool = False) -> Reply:
            try:
                decision = self._decide(work, new=new)
                appended = self._append(self._store_of(work).append, work, decision)
                return self._appended(work, decision, appended)
            except Exception:
                if first := self._find_first_reply(work):
                    return first
                raise

        self._take_stream(work)
        try:
            if work.creates:
                # Its id is as new as the command's, so there is nothing to load; but for a command
                # that is sent again when its id is long forgotten.
                with contextlib.suppress(VersionConflict, CommandRejected):
                    return attempt(new=True)
            if work.expected_version is not None:
                return attempt()
            return retry_on_conflict(attempt, work.deadline)
        finally:
            self._locks.give_back(work.lock)

    def _take_stream(self, work: _Work) -> None:
        work.deadline.check()
        self._locks.take(work.lock, work.deadline)

    def _prepare(self, method: Method, request: Message, options: CallOptions) -> _Work:
        aggregate = self._aggregates[method.full_name]
        command_id = options.command_id or new_id()
        aggregate_id = aggregate_id_of(aggregate, request, command_id)
        return _Work(
            aggregate=aggregate,
            method=method,
            request=request,
            aggregate_id=aggregate_id,
            stream=stream_name(aggregate.__aggregate__.name, aggregate_id),
            context=message_context(options, command_id, self._clock.now),
            fingerprint=fingerprint(method.full_name, request),
            expected_version=options.expected_version,
            deadline=Deadline(method, options.timeout, clock=self._clock),
            resent=bool(options.command_id),
            creates=creates(aggregate, type(request)),
        )

    def _find_first_reply(self, work: _Work) -> Reply | None:
        """What the command was answered with the first time, if it was carried out before.

        That it was may be why it is refused now. An append finds out by itself.
        """
        if not work.resent:
            return None
        record = self._store_of(work).find_command(work.context.command_id)
        if record is None:
            return None
        if (record.fingerprint, record.stream) != (work.fingerprint, work.stream):
            raise CommandIdReused(record.id, record.stream)
        return first_reply(work.method, record.response, record.global_position)

    def _store_of(self, work: _Work) -> EventStore:
        return self._store.for_tenant(work.context.tenant)

    def _append(
        self, append: Callable[..., Appended], work: _Work, decision: _Decision
    ) -> Appended:
        """`append` is the store's, or its `submit`."""
        return append(
            work.stream,
            pending_events(decision.aggregate),
            expected_version=decision.version,
            command=decision.command,
        )

    def _decide(self, work: _Work, *, new: bool) -> _Decision:
        repository = self._repositories[work.aggregate]
        found = None if new else repository.for_tenant(work.context.tenant).find(work.aggregate_id)
        aggregate = found or work.aggregate(work.aggregate_id)
        loaded = aggregate.version
        if work.expected_version not in (None, loaded):
            raise VersionConflict(work.stream, work.expected_version, loaded)
        response = decide(aggregate, work.method, work.request, work.context)
        work.deadline.check()
        command = Command(
            id=work.context.command_id,
            fingerprint=work.fingerprint,
            response=encode(response),
        )
        return _Decision(aggregate, loaded, response, command)

    def _appended(self, work: _Work, decision: _Decision, result: AppendResult) -> Reply:
        repository = self._repositories[work.aggregate]
        repository.for_tenant(work.context.tenant).appended(decision.aggregate, result)
        if result.already_processed:
            return first_reply(work.method, result.response, result.global_position)
        return Reply(message=decision.response, global_position=result.global_position)


def message_context(options: CallOptions, command_id: str, now: datetime) -> MessageContext:
    """The context a command is decided in; by default it starts its own correlation."""
    return MessageContext(
        command_id=command_id,
        correlation_id=options.correlation_id or command_id,
        causation_id=options.causation_id or command_id,
        principal_id=options.principal_id,
        tenant=check_tenant(options.tenant),
        now=now,
        # As W3C says, a trace context that is none is ignored.
        traceparent=options.traceparent if _TRACEPARENT.match(options.traceparent) else "",
    )


def first_reply(method: Method, response: bytes, position: int) -> Reply:
    """The reply to a command that was carried out before."""
    message = method.response.FromString(response)
    return Reply(message=message, global_position=position, already_processed=True)


def retry_on_conflict(attempt: Callable[[], Reply], deadline: Deadline) -> Reply:
    """Run `attempt`, and again on VersionConflict, with jittered pauses, until the time is over.

    Raises OutOfTime then: whoever called did not choose the version, and can only send it again.
    """
    shortest, longest = _BACKOFF
    pause = shortest
    while True:
        try:
            return attempt()
        except VersionConflict as conflict:
            pause = min(longest, 2 * pause)
            deadline.sleep(random.uniform(shortest, pause))
            if not deadline.left:
                raise deadline.passed("Other writers were faster every time") from conflict


class _StreamLocks:
    """A lock for each stream that somebody works on, gone when nobody does."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[StreamKey, tuple[threading.Lock, int]] = {}

    def take(self, key: StreamKey, deadline: Deadline) -> None:
        """Take the lock of a stream; OutOfTime if others hold it for too long."""
        with self._guard:
            lock, users = self._held.get(key, (threading.Lock(), 0))
            self._held[key] = (lock, users + 1)
        taken = False
        try:
            taken = lock.acquire(timeout=deadline.left)
        finally:
            if not taken:
                self._forget(key)
        if not taken:
            raise deadline.passed("Other commands to the same stream are still at work")

    def give_back(self, key: StreamKey) -> None:
        """Let the next one have it; from any thread."""
        self._held[key][0].release()
        self._forget(key)

    def _forget(self, key: StreamKey) -> None:
        with self._guard:
            lock, users = self._held[key]
            if users == 1:
                del self._held[key]
            else:
                self._held[key] = (lock, users - 1)
