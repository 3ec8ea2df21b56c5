"""The application: the aggregates, queries and projections of a service, and running them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.cqrs.answers import answered, settle
from eskit.cqrs.authorisation import Authenticator, nobody
from eskit.cqrs.contexts import QueryContext
from eskit.cqrs.deadline import Deadline
from eskit.cqrs.dispatch import Dispatcher
from eskit.cqrs.handwritten import run_handler
from eskit.cqrs.middleware import Call, Middleware, pass_through
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.reactions import Reaction
from eskit.cqrs.services import ServiceBinding, bind, check_response, resolve_method, run_users
from eskit.domain.aggregate import AnyAggregate
from eskit.domain.commands import fingerprint
from eskit.domain.events import RecordedEvent
from eskit.domain.messages import message_type
from eskit.domain.services import Method, ServiceType
from eskit.domain.upcasting import Upcaster, UpcasterMissing, Upcasters
from eskit.errors import (
    EskitError,
    InvalidArgument,
    ProjectError,
    ProjectionError,
    UpcastingInvalid,
)
from eskit.projections.projection import Projection
from eskit.slow import SLOW_AFTER
from eskit.store.eventstore import EventStore, earlier_position
from eskit.store.snapshotting import SnapshotPolicy, Snapshotter
from eskit.text.suggestions import suggestion

if TYPE_CHECKING:
    from eskit.projections.engine import ProjectionEngine
    from eskit.projections.port import ReadModels


class App:
    """The parts of a service. Checked when it is created; open it to run commands and queries.

    `middleware` runs around every command and query, the first outermost, in process and over NATS.
    `authenticate` says who sent a request over NATS; by default every caller is anonymous.

    >>> from bank.domain.account import Account
    >>> from bank.domain.upcasters import UPCASTERS
    >>> from bank.gen.account.v1 import account_pb2 as pb
    >>> from eskit import App
    >>> app = App("bank", aggregates=[Account], upcasters=UPCASTERS)
    >>> command = pb.OpenAccountCommand(
    ...     account_id="a-1", owner_name="Alice", initial_balance="10.00"
    ... )
    >>> with app.open("memory://") as running:
    ...     running.execute(command).version
    1
    """

    def __init__(
        self,
        name: str,
        *,
        aggregates: Sequence[type[AnyAggregate]] = (),
        queries: Sequence[type[Any]] = (),
        projections: Sequence[Projection[Any]] = (),
        upcasters: Sequence[Upcaster] = (),
        services: Sequence[ServiceBinding] = (),
        snapshots: SnapshotPolicy | None = None,
        reactions: Sequence[Reaction] = (),
        middleware: Sequence[Middleware] = (),
        authenticate: Authenticator = nobody,
    ) -> None:
        self.name = name
        self.snapshots = snapshots
        self.reactions = tuple(reactions)
        self.middleware = tuple(middleware)
        self.authenticate = authenticate
        self.aggregates = tuple(aggregates)
        self.projections = tuple(projections)
        self.upcasters = Upcasters(upcasters)
        _refuse_twins("aggregate", [kind.__aggregate__.name for kind in self.aggregates])
        _refuse_twins("projection", [projection.name for projection in self.projections])
        _refuse_twins("reaction", [reaction.name for reaction in self.reactions])
        _refuse_twins(
            "projection or reaction",
            [p.name for p in self.projections] + [r.name for r in self.reactions],
        )
        self._check_upcasting()
        _refuse_unwritten([*self.aggregates, *queries])
        self._queries = tuple(queries)
        self.bindings = (*(bind(query.__service__, query()) for query in queries), *services)
        self.methods = self._collect_methods()

    @property
    def service_types(self) -> list[ServiceType]:
        """Every service the app answers, by name, with the methods it answers."""
        by_service: dict[str, list[Method]] = {}
        for method in self.methods.values():
            by_service.setdefault(method.service, []).append(method)
        return [
            ServiceType(name=name, methods=tuple(methods))
            for name, methods in sorted(by_service.items())
        ]

    @property
    def unanswered(self) -> list[ServiceType]:
        """Services of the generated modules that the app uses, for which it has no handler."""
        answered = {method.service for method in self.methods.values()}
        generated = {
            base.__module__
            for user in (*self.aggregates, *self._queries)
            for base in user.__mro__
            if {"__aggregate__", "__service__"} & vars(base).keys()
        }
        found = {
            value.name: value
            for module in generated & sys.modules.keys()
            for value in vars(sys.modules[module]).values()
            if isinstance(value, ServiceType) and value.name not in answered
        }
        return [found[name] for name in sorted(found)]

    def aggregate(self, type_name: str) -> type[AnyAggregate]:
        """The aggregate of a type; ProjectError if the app has none of that name."""
        for kind in self.aggregates:
            if kind.__aggregate__.name == type_name:
                return kind
        known = [kind.__aggregate__.name for kind in self.aggregates]
        raise ProjectError(
            f"App {self.name!r} has no aggregate {type_name!r}",
            hint=suggestion(type_name, known, "Aggregates"),
        )

    def projection(self, name: str) -> Projection:
        """The projection of that name; PROJECTION_NOT_FOUND if there is none."""
        for projection in self.projections:
            if projection.name == name:
                return projection
        known = [projection.name for projection in self.projections]
        raise ProjectionError(
            f"No projection {name!r}",
            code="PROJECTION_NOT_FOUND",
            hint=suggestion(name, known, "Projections"),
        )

    def method(self, text: str) -> Method:
        """The method called ``package.Service/Method`` (or with a dot before the method).

        Raises NotFound with the nearest name for one the app does not answer.
        """
        return resolve_method(self.methods, text, unanswered=self.unanswered)

    @contextmanager
    def open(
        self,
        store: str | EventStore,
        *,
        read_models: str | ReadModels[Any] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        slow_after: float | None = SLOW_AFTER,
    ) -> Iterator[RunningApp]:
        """Open the app over a store and its read models, each by URL or already open.

        `read_models` lie by default beside the store: ``bank_read.db`` for ``bank.db``, schema
        ``bank_read`` for schema ``bank``. A handler of a projection that has not returned after
        `slow_after` seconds is reported; None reports none.
        """
        from eskit.projections.engine import ProjectionEngine
        from eskit.projections.opening import default_read_models_url
        from eskit.store.open import open_store

        with ExitStack() as stack:
            log = (
                stack.enter_context(open_store(store, clock=clock))
                if isinstance(store, str)
                else store
            )
            engine = ProjectionEngine(
                log,
                self.projections,
                read_models
                or default_read_models_url(store if isinstance(store, str) else log.url),
                upcasters=self.upcasters,
                clock=clock,
                slow_after=slow_after,
            )
            stack.callback(engine.close)
            snapshots = Snapshotter(log, self.snapshots, clock=clock) if self.snapshots else None
            if snapshots is not None:
                stack.callback(snapshots.close)
            yield RunningApp(self, log, engine, snapshots, clock=clock)

    def _collect_methods(self) -> Mapping[str, Method]:
        declared = [
            *(method for kind in self.aggregates for method in kind.__aggregate__.commands),
            *(method for binding in self.bindings for method in binding.service.methods),
        ]
        _refuse_twins("handler of", [method.path for method in declared])
        return {method.full_name: method for method in declared}

    def _check_upcasting(self) -> None:
        for kind in self.aggregates:
            events = kind.__aggregate__.events
            current = {message_type(event.event) for event in events if not event.deprecated}
            for event in events:
                self._check_chain(message_type(event.event), current, kind.__aggregate__.name)
        followers: tuple[Projection | Reaction, ...] = (*self.projections, *self.reactions)
        for follower in followers:
            for event_type in follower.handlers:
                self._check_handled(event_type, follower)

    def _check_chain(self, event_type: str, current: set[str], aggregate: str) -> None:
        end = self.upcasters.current_type(event_type)
        if end in current:
            return
        if end == event_type:
            problem = f"{event_type} is deprecated and has no upcaster"
        else:
            problem = f"The upcasters of {event_type} end at {end}, no current event of {aggregate}"
        raise UpcasterMissing(
            problem,
            hint=f"Write @upcast({end.rpartition('.')[2]}, to=…) to an event that {aggregate} "
            "applies, and add it to App(upcasters=[…]).",
            upcasters=self.upcasters,
        )

    def _check_handled(self, event_type: str, follower: Projection | Reaction) -> None:
        # The event would arrive as the upcaster's target, so the handler would never be called.
        if (current := self.upcasters.current_type(event_type)) != event_type:
            raise UpcastingInvalid(
                f"{follower!r} handles {event_type}, which an upcaster turns into {current}",
                hint=f"Handle {current.rpartition('.')[2]} there: old events arrive as it.",
            )


class RunningApp:
    """An app over an open store: answers commands and queries. Thread-safe."""

    def __init__(
        self,
        app: App,
        store: EventStore,
        engine: ProjectionEngine,
        snapshots: Snapshotter | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.app = app
        self._clock = clock
        self.store = store
        self.engine = engine
        self._snapshots = snapshots
        self._dispatcher = Dispatcher(
            store, app.aggregates, upcasters=app.upcasters, snapshots=snapshots, clock=clock
        )
        self._bindings = {
            method.full_name: binding
            for binding in app.bindings
            for method in binding.service.methods
        }

    def execute(
        self, command: Message, *, command_id: str = "", options: CallOptions | None = None
    ) -> Any:
        """Carry a command out and return its response message.

        The same `command_id` again answers with the first response and changes nothing. Raises
        CommandRejected, ClaimTaken, VersionConflict, CommandIdReused, StoreUnavailable.
        """
        options = options or CallOptions(command_id=command_id)
        return self.handle(self._method_for(command, "command"), command, options).message

    def find_response(self, command: Message, *, command_id: str, tenant: str = "") -> Any:
        """What just this command was answered with under an id; None if it was not."""
        method = self._method_for(command, "command")
        record = self.store.for_tenant(tenant).find_command(command_id)
        if record is None or record.fingerprint != fingerprint(method.full_name, command):
            return None
        return method.response.FromString(record.response)

    @cached_property
    def earlier_reactions(self) -> int:
        """Up to which position an earlier eskit may have reacted to events."""
        return earlier_position(self.store)

    def react(self, reaction: Reaction, event: RecordedEvent) -> None:
        """Let a reaction handle one recorded event; again changes nothing."""
        reaction.handle(event, self, upcasters=self.app.upcasters)

    def query(
        self, request: Message, *, at_least: int | None = None, options: CallOptions | None = None
    ) -> Any:
        """Answer a query from read models that have seen every event up to now.

        With `at_least` from ones that have passed this position, such as that of a command just
        carried out. Raises ProjectionBusy when they do not come so far within the timeout of
        `options`, 30 s by default.
        """
        options = options or CallOptions(at_least=at_least)
        return self.handle(self._method_for(request, "query"), request, options).message

    def handle(self, method: Method, request: Message, options: CallOptions) -> Reply:
        """Answer one request, whichever way it came in, through the app's middleware."""
        return self.submit(method, request, options).result()

    def submit(
        self,
        method: Method,
        request: Message,
        options: CallOptions,
        executor: Executor | None = None,
    ) -> Future[Reply]:
        """Answer one request as `handle` does; the future has the reply, or what is raised.

        Without an executor the future is done on return. With one, no thread waits for a commit, or
        for a projection that another process runs: the executor does the rest once that has
        happened. The thread that commits may call the callbacks of the future.
        """
        call = Call(method=method, request=request, options=options)
        return pass_through(self.app.middleware, partial(self._answer, executor), call)

    def check_store(self) -> None:
        """Raise StoreUnavailable if nothing can be written to the store; changes nothing."""
        self.store.check_writing()

    def _answer(self, executor: Executor | None, call: Call) -> Future[Reply]:
        method, request, options = call.method, call.request, call.options
        if self._dispatcher.answers(method):
            return self._dispatcher.submit(method, request, options, executor)
        binding = self._bindings[method.full_name]
        if method.kind == "command":
            return answered(self._run_service, binding, method, request, options)
        if executor is None or not binding.reads:
            return answered(self._answer_query, binding, method, request, options)
        return self._answer_when_ready(binding, call, executor)

    def _answer_when_ready(
        self, binding: ServiceBinding, call: Call, executor: Executor
    ) -> Future[Reply]:
        """Look again whenever there is reason to, and answer when nothing is to be waited for."""
        method, request, options = call.method, call.request, call.options
        names = [projection.name for projection in binding.reads]
        deadline = Deadline(method, options.timeout, clock=self._clock)
        position = options.at_least
        if position is None:
            position = self.store.head_position()
        answer = Future[Reply]()

        def look() -> None:
            if deadline.left:
                with contextlib.suppress(EskitError):  # answering raises it
                    if not self.engine.try_catch_up(names, until=position):
                        self.engine.when_passed(names, position, deadline.left, again)
                        return
            now = replace(options, at_least=position, timeout=deadline.left)
            settle(answer, self._answer_query, binding, method, request, now)

        again = partial(executor.submit, copy_context().run, look)
        look()
        return answer

    def catch_up(self, projections: Iterable[str] | None = None) -> None:
        """Bring read models up to the head of the log; those of every projection by default.

        A projection that another runner holds is waited for instead. Raises ProjectionFailed.
        """
        names = [p.name for p in self.app.projections] if projections is None else projections
        self.engine.catch_up(list(names))

    def wait_for(self, projection: str, position: int, timeout: float = 10.0) -> bool:
        """Wait until a projection has passed a position; False if it has not in time."""
        self.app.projection(projection)
        return self.engine.wait_for(projection, position, timeout)

    def _method_for(self, message: Message, kind: str) -> Method:
        candidates = [
            method
            for method in self.app.methods.values()
            if method.kind == kind and method.request is type(message)
        ]
        if len(candidates) != 1:
            count = "No" if not candidates else "More than one"
            raise InvalidArgument(
                f"{count} {kind} method takes {message_type(message)}",
                hint="Use app.method(…) and running.handle(method, message, options).",
            )
        return candidates[0]

    def _answer_query(
        self, binding: ServiceBinding, method: Method, request: Message, options: CallOptions
    ) -> Reply:
        deadline = Deadline(method, options.timeout, clock=self._clock)
        deadline.check()
        self.engine.catch_up(
            [projection.name for projection in binding.reads],
            until=options.at_least,
            timeout=options.timeout,
        )
        if not binding.reads:
            self.engine.prepare()
        with self.engine.reader() as db:
            context = QueryContext(
                tenant=options.tenant,
                principal_id=options.principal_id,
                correlation_id=options.correlation_id,
                db=db,
            )
            response = run_users(binding.handler(method), request, context)
        check_response(method, response, method.path)
        deadline.check()
        return Reply(message=response)

    def _run_service(
        self, binding: ServiceBinding, method: Method, request: Message, options: CallOptions
    ) -> Reply:
        return run_handler(
            binding.handler(method),
            method,
            request,
            options,
            store=self.store,
            upcasters=self.app.upcasters,
            snapshots=self._snapshots,
            clock=self._clock,
        )


def _refuse_unwritten(classes: Sequence[type[Any]]) -> None:
    for kind in classes:
        missing = sorted(getattr(kind, "__abstractmethods__", ()))
        if missing:
            raise ProjectError(
                f"{kind.__name__} does not implement {', '.join(missing)}",
                hint="Write what the generated base class declares; for an aggregate, "
                "eskit new aggregate with its proto file shows it, ready to paste.",
            )


def _refuse_twins(what: str, names: Sequence[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ProjectError(f"More than one {what} {twins[0]!r}", hint="Make the names unique.")
