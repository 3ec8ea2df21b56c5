"""Old event payloads to their current form, on read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from eskit.domain.messages import decode, message_type
from eskit.errors import UpcastingInvalid

Old = TypeVar("Old", bound=Message)
New = TypeVar("New", bound=Message)


@dataclass(frozen=True, slots=True)
class Upcaster:
    """One step from an event type to the next, or from an old field layout to the current one."""

    source: type[Message]
    target: type[Message]
    function: Callable[[Any], Message]

    @property
    def source_type(self) -> str:
        """The stored event type it reads."""
        return message_type(self.source)

    @property
    def target_type(self) -> str:
        """The event type it gives."""
        return message_type(self.target)


def upcast(source: type[Old], *, to: type[New]) -> Callable[[Callable[[Old], New]], Upcaster]:
    """Declare how a stored `source` event is read as `to`.

    The same type on both sides corrects an old field layout and runs for every event of it.
    Hand the result to ``App(upcasters=[…])``.
    """

    def declare(function: Callable[[Old], New]) -> Upcaster:
        return Upcaster(source, to, function)

    return declare


class UpcasterMissing(UpcastingInvalid):
    """A deprecated event that no chain leads on from; `upcasters` are those that there are."""

    code = "UPCASTER_MISSING"

    def __init__(self, message: str, *, hint: str, upcasters: Upcasters) -> None:
        super().__init__(message, hint=hint)
        self.upcasters = upcasters


class Upcasters:
    """The upcasters of an application, checked and put in chains."""

    def __init__(self, upcasters: Iterable[Upcaster] = ()) -> None:
        self._mending: dict[str, Callable[[Any], Message]] = {}
        self._next: dict[str, Upcaster] = {}
        self._sources: dict[str, type[Message]] = {}
        for upcaster in upcasters:
            self._add(upcaster)
        for source in self._next:
            self._check_acyclic(source)

    def __bool__(self) -> bool:
        return bool(self._mending or self._next)

    def decode(self, event_type: str, data: bytes) -> Message:
        """Parse a payload and bring it to its current form."""
        message = decode(event_type, data)
        return self.apply(message) if self else message

    def source(self, event_type: str) -> type[Message] | None:
        """The class that the upcaster of an event type takes, if there is one."""
        return self._sources.get(event_type)

    def apply(self, message: Message) -> Message:
        """Bring a decoded event to its current form, through every step of its chain."""
        name = message_type(message)
        while True:
            if mend := self._mending.get(name):
                message = _checked(mend(message), name, name)
            step = self._next.get(name)
            if step is None:
                return message
            message = _checked(step.function(message), name, step.target_type)
            name = step.target_type

    def current_type(self, event_type: str) -> str:
        """The event type that a stored `event_type` is read as."""
        while step := self._next.get(event_type):
            event_type = step.target_type
        return event_type

    @property
    def sources(self) -> tuple[str, ...]:
        """The event types that some step reads, sorted."""
        return tuple(sorted({*self._next, *self._mending}))

    def chain(self, event_type: str) -> tuple[str, ...]:
        """The types that an event stored as `event_type` passes through, itself first."""
        types = [event_type]
        while step := self._next.get(types[-1]):
            types.append(step.target_type)
        return tuple(types)

    def touches(self, event_type: str) -> bool:
        """Whether a stored `event_type` is read as anything other than it is."""
        return event_type in self._next or event_type in self._mending

    def stored_types(self, current: str) -> tuple[str, ...]:
        """`current` and every older event type that is read as it, sorted."""
        older = {source for source in self._next if self.current_type(source) == current}
        return tuple(sorted({current, *older}))

    def _add(self, upcaster: Upcaster) -> None:
        source = upcaster.source_type
        self._sources[source] = upcaster.source
        if source == upcaster.target_type:
            taken: bool = source in self._mending
            self._mending[source] = upcaster.function
        else:
            taken = source in self._next
            self._next[source] = upcaster
        if taken:
            raise UpcastingInvalid(
                f"Two upcasters for {source}", hint="Keep one step for each event type."
            )

    def _check_acyclic(self, source: str) -> None:
        path = [source]
        while step := self._next.get(path[-1]):
            if step.target_type in path:
                chain = " → ".join([*path, step.target_type])
                raise UpcastingInvalid(
                    f"Upcasters form a cycle: {chain}",
                    hint="The last step must end at the current event type.",
                )
            path.append(step.target_type)


def _checked(message: Any, source: str, target: str) -> Message:
    """What an upcaster has given, if it is an event of the type that it promised."""
    given = message_type(message) if isinstance(message, Message) else repr(message)
    if given != target:
        raise UpcastingInvalid(
            f"The upcaster of {source} gave {given}, not {target}",
            hint=f"Let it return a {target} for every stored event.",
        )
    return cast("Message", message)
