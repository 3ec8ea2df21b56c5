"""Given what happened, when a command comes, then this: tests of rules, without a store.

    given(Account, opened).when(pb.DepositCommand(account_id="acc-001", amount="5")).then(
        pb.MoneyDepositedEvent(account_id="acc-001", amount="5", new_balance="105")
    )

The command takes the path it takes in the application: the events are folded by the same fold,
the id is found in the same way, and the same function decides.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn, Self, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from eskit.cqrs.dispatch import aggregate_id_of, decide
from eskit.domain.aggregate import AnyAggregate, fold, pending_events
from eskit.domain.claims import Claim
from eskit.domain.context import MessageContext
from eskit.domain.events import FoldRow, NewEvent, erased_metadata
from eskit.domain.messages import message_type
from eskit.domain.services import Method
from eskit.domain.time import to_microseconds
from eskit.domain.upcasting import Upcaster, Upcasters
from eskit.errors import CommandRejected, InvalidArgument

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""The time at which commands are decided unless a test says otherwise."""

_COMMAND_ID = "command-1"

Rules = TypeVar("Rules", bound=AnyAggregate)
"""A class of the tests' own: with it mypy refuses one that lacks an abstract method."""


def given(
    aggregate: type[Rules],
    *events: Message,
    upcasters: Sequence[Upcaster] = (),
    now: datetime = NOW,
    principal_id: str = "",
    tenant: str = "",
) -> Given:
    """Start from an aggregate with a history of `events`; from a new one without any.

    Events may be old ones when their `upcasters` are given. `now` (aware), `principal_id` and
    `tenant` are what the rules see in ``self.context``.
    """
    context = MessageContext(
        command_id=_COMMAND_ID,
        correlation_id=_COMMAND_ID,
        causation_id=_COMMAND_ID,
        principal_id=principal_id,
        tenant=tenant,
        now=now,
    )
    history = tuple(NewEvent(event) for event in events)
    return Given(aggregate, history, Upcasters(upcasters), context)


@dataclass(frozen=True, slots=True)
class Given:
    """An aggregate's history, waiting for a command; made by `given`."""

    aggregate: type[AnyAggregate]
    history: tuple[NewEvent, ...]
    upcasters: Upcasters
    context: MessageContext
    erased_up_to: int = 0

    def erased(self) -> Self:
        """The same history after `eskit stream erase`: its events are there and say nothing."""
        return replace(self, erased_up_to=len(self.history))

    def when(self, command: Message, *, rpc: str = "") -> Outcome:
        """Let the aggregate decide `command`.

        `rpc` is needed only where two rpcs take the same message. Raises InvalidArgument for a
        message that is no command of the aggregate, and AssertionError when the rule changed
        state other than through an event: such a change would be lost.
        """
        method = self._find_method(command, rpc)
        try:
            aggregate = self._load(aggregate_id_of(self.aggregate, command, _COMMAND_ID))
            response = decide(aggregate, method, command, self.context)
        except CommandRejected as rejection:
            return Outcome(method.name, rejection)
        emitted = pending_events(aggregate)
        self._check_replay(method, aggregate, emitted)
        events = tuple(event.message for event in emitted)
        claims = tuple(claim for event in emitted for claim in event.claims)
        return Outcome(method.name, Accepted(aggregate.state, events, claims, response))

    def _find_method(self, command: Message, rpc: str) -> Method:
        methods = [
            method
            for method in self.aggregate.__aggregate__.commands
            if message_type(method.request) == message_type(command) and rpc in ("", method.name)
        ]
        if len(methods) == 1:
            return methods[0]
        name = self.aggregate.__name__
        if methods:
            rpcs = ", ".join(method.name for method in methods)
            raise InvalidArgument(
                f"{name} has several rpcs for {message_type(command)}: {rpcs}",
                hint=f'Say which: .when(command, rpc="{methods[0].name}")',
            )
        commands = self.aggregate.__aggregate__.commands
        known = ", ".join(dict.fromkeys(method.request.__name__ for method in commands))
        raise InvalidArgument(
            f"{message_type(command)} is no command of {name}", hint=f"Its commands: {known}"
        )

    def _load(self, aggregate_id: str, emitted: Iterable[NewEvent] = ()) -> AnyAggregate:
        aggregate = self.aggregate(aggregate_id)
        events = enumerate((*self.history, *emitted), start=1)
        rows = (self._row(version, event) for version, event in events)
        fold(aggregate, rows, self.upcasters, tenant=self.context.tenant)
        return aggregate

    def _row(self, version: int, event: NewEvent) -> FoldRow:
        recorded_at = to_microseconds(self.context.now)
        metadata, data = event.metadata.to_json(), event.data
        if version <= self.erased_up_to:
            metadata, data = erased_metadata(metadata), b""
        return FoldRow(version, event.event_type, recorded_at, metadata, data)

    def _check_replay(
        self, method: Method, aggregate: AnyAggregate, emitted: Sequence[NewEvent]
    ) -> None:
        __tracebackhide__ = True
        replayed: Message = self._load(aggregate.id, emitted).state
        if replayed != aggregate.state:
            _fail_with_diff(
                f"{method.name} left a state that a replay of its events does not give; "
                "change state in event methods only",
                expected=_text(replayed),
                actual=_text(aggregate.state),
                labels=("replayed", "left by the command"),
            )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a command did: the state after it, what it emitted and claimed, its response."""

    state: Message
    events: tuple[Message, ...]
    claims: tuple[Claim, ...]
    response: Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a command; made by `Given.when`.

    Every ``then`` raises AssertionError with a diff if it differs, and returns the outcome, so
    expectations chain.
    """

    command: str
    result: Accepted | CommandRejected

    def then(self, *events: Message) -> Self:
        """The command emitted exactly these events, in this order."""
        __tracebackhide__ = True
        emitted = self._accepted().events
        if events != emitted:
            _fail_with_diff(
                f"{self.command} emitted other events than expected",
                expected=_texts(events),
                actual=_texts(emitted),
                labels=("expected", "emitted"),
            )
        return self

    def then_nothing(self) -> Self:
        """The command was carried out and emitted no event."""
        __tracebackhide__ = True
        return self.then()

    def then_rejected(self, code: str) -> Self:
        """The rules refused the command with this code."""
        __tracebackhide__ = True
        if isinstance(self.result, Accepted):
            emitted = "\n".join(_texts(self.result.events)) or "nothing"
            _fail(f"{self.command} was not rejected with {code}, it emitted\n{emitted}")
        if self.result.rejection != code:
            _fail(f"{self.command} was not rejected with {code} but with {_describe(self.result)}")
        return self

    def then_claims(self, *claims: Claim) -> Self:
        """The events took and gave up exactly these unique values, in this order."""
        __tracebackhide__ = True
        made = self._accepted().claims
        if claims != made:
            _fail_with_diff(
                f"{self.command} made other claims than expected",
                expected=[str(claim) for claim in claims],
                actual=[str(claim) for claim in made],
                labels=("expected", "made"),
            )
        return self

    def then_state(self, expected: Message | None = None, /, **fields: Any) -> Self:
        """The state is now `expected`; with keywords, it has these values in these fields."""
        __tracebackhide__ = True
        title = f"{self.command} led to another state than expected"
        _compare(title, self._accepted().state, expected, fields)
        return self

    def then_response(self, expected: Message | None = None, /, **fields: Any) -> Self:
        """The command answered `expected`; with keywords, these values in these fields."""
        __tracebackhide__ = True
        title = f"{self.command} gave another response than expected"
        _compare(title, self._accepted().response, expected, fields)
        return self

    def _accepted(self) -> Accepted:
        __tracebackhide__ = True
        if isinstance(self.result, CommandRejected):
            _fail(f"{self.command} was rejected with {_describe(self.result)}")
        return self.result


def _compare(
    title: str, actual: Message, expected: Message | None, fields: Mapping[str, Any]
) -> None:
    __tracebackhide__ = True
    wanted = expected or _with_fields(actual, fields)
    if wanted != actual:
        _fail_with_diff(
            title, expected=_text(wanted), actual=_text(actual), labels=("expected", "actual")
        )


def _with_fields(message: Message, fields: Mapping[str, Any]) -> Message:
    """A copy of `message` with other values in some fields."""
    kind = type(message)
    copy = kind.FromString(kind.SerializeToString(message))
    for name in fields:
        kind.ClearField(copy, name)
    kind.MergeFrom(copy, kind(**fields))
    return copy


def _describe(rejection: CommandRejected) -> str:
    return ": ".join(
        part for part in (rejection.rejection, rejection.message, rejection.solution) if part
    )


def _texts(messages: Iterable[Message]) -> list[str]:
    return [line for message in messages for line in _text(message)]


def _text(message: Message) -> list[str]:
    body = text_format.MessageToString(message, as_utf8=True).splitlines()
    return [message_type(message), *(f"  {line}" for line in body)]


def _fail_with_diff(
    title: str, *, expected: Sequence[str], actual: Sequence[str], labels: tuple[str, str]
) -> NoReturn:
    __tracebackhide__ = True
    diff = (line for line in difflib.ndiff(expected, actual) if not line.startswith("?"))
    _fail("\n".join([f"{title} (- {labels[0]}, + {labels[1]})", *diff]))


def _fail(text: str) -> NoReturn:
    __tracebackhide__ = True
    raise AssertionError(text)
