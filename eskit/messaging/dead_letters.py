"""Events that a subscription could not handle, and the decisions about them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable
from dataclasses import replace
from typing import Literal

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import RecordedEvent
from eskit.errors import DeliveryFailed, InvalidArgument, NotFound
from eskit.messaging.subscription import (
    DeadLetter,
    DeadLetterDecision,
    EventHandler,
    Subscriptions,
    event_text,
)
from eskit.raised import error_line, error_traceback
from eskit.slow import SlowCalls


class DeadLetters:
    """The dead letters of all subscriptions of a bus. They are kept, with what was decided."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    async def names(self) -> list[str]:
        """The subscriptions that ever set an event aside, sorted."""
        return await self._subscriptions.list_names()

    async def waiting(self, name: str) -> list[DeadLetter]:
        """What waits for a decision, by position."""
        return [found for found in await self.history(name) if found.decision is None]

    async def history(self, name: str) -> list[DeadLetter]:
        """Every dead letter there was, by position."""
        return await self._subscriptions.list_dead_letters(name)

    async def load(self, name: str, event: str) -> DeadLetter:
        """What waits, by the event's position in the log or its id; NotFound for others."""
        for letter in await self.waiting(name):
            known = letter.event
            if event.replace(",", "") == str(known.global_position) or event == known.event_id:
                return letter
        raise NotFound(
            f"No event {event!r} waits for a decision in subscription {name!r}",
            hint=f"Name one by its position or id: eskit deadletter list {name}",
        )

    async def retry(
        self, letter: DeadLetter, handler: EventHandler, *, reason: str, by: str = ""
    ) -> DeadLetter:
        """Handle the event once more, now: after later ones of its stream.

        Raises DeliveryFailed when the handler raises, and keeps the new error. Raises
        InvalidArgument without a reason, NotFound when the letter does not wait any more,
        SubscriptionTaken when another decision is made at the same time.
        """
        _check_reason(reason)
        letter = await self.load(letter.subscription, letter.event.event_id)
        try:
            await call_handler(handler, letter.event, name=letter.subscription)
        except Exception as error:
            deliveries = letter.deliveries + 1
            again = make_dead_letter(letter.subscription, letter.event, error, deliveries)
            await self._subscriptions.replace_dead_letter(letter, again)
            raise _still_failing(again) from error
        return await self._decide(letter, "retried", reason=reason, by=by)

    async def skip(self, letter: DeadLetter, *, reason: str, by: str = "") -> DeadLetter:
        """Never handle the event. Raises as `retry`, but for DeliveryFailed."""
        _check_reason(reason)
        letter = await self.load(letter.subscription, letter.event.event_id)
        return await self._decide(letter, "skipped", reason=reason, by=by)

    async def _decide(
        self, letter: DeadLetter, action: Literal["retried", "skipped"], *, reason: str, by: str
    ) -> DeadLetter:
        decision = DeadLetterDecision(
            action=action, reason=reason, decided_by=by, decided_at=SYSTEM_CLOCK.now
        )
        decided = replace(letter, decision=decision)
        await self._subscriptions.replace_dead_letter(letter, decided)
        return decided


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidArgument(
            "A decision needs a reason", hint="Say why, for those who read it later."
        )


def _still_failing(letter: DeadLetter) -> DeliveryFailed:
    name = letter.subscription
    return DeliveryFailed(
        f"{name} failed again on {letter.text}: {letter.error}",
        hint=f"It stays a dead letter. See why: eskit deadletter show {name} "
        f"{letter.event.global_position}",
    )


def make_dead_letter(
    name: str, event: RecordedEvent, error: Exception, deliveries: int
) -> DeadLetter:
    """A letter for an event whose handler raised; as much of the error as fits a message."""
    return DeadLetter(
        subscription=name,
        event=event,
        error=error_line(error),
        traceback=error_traceback(error, of_users=True),
        deliveries=deliveries,
        failed_at=SYSTEM_CLOCK.now,
    )


async def call_handler(
    handler: EventHandler,
    event: RecordedEvent,
    *,
    name: str,
    clock: Clock = SYSTEM_CLOCK,
    slow: SlowCalls | None = None,
) -> None:
    """Handle one event: on the loop, or in a thread that is abandoned at the end."""
    if inspect.iscoroutinefunction(handler):
        await _guarded(handler(event))
        return
    result = await _in_thread(handler, event, name=name, clock=clock, slow=slow or SlowCalls())
    if inspect.isawaitable(result):
        await _guarded(result)


async def _guarded(result: Awaitable[None]) -> None:
    """Await it, and take whatever it raises for an error, unless we are cancelled ourselves."""
    try:
        await result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise _ended(error) from error
    except (SystemExit, GeneratorExit) as error:
        raise _ended(error) from error


async def _in_thread(
    handler: EventHandler, event: RecordedEvent, *, name: str, clock: Clock, slow: SlowCalls
) -> object:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

    def settle(result: object, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def work() -> None:
        result, failure = None, None
        try:
            with slow.watching(lambda: f"{name} at {event_text(event)}"):
                result = handler(event)
        except BaseException as error:  # noqa: BLE001 - handed over, whatever it is
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, failure)

    clock.start(work, name=f"eskit-{name}", daemon=True)
    result, error = await ended
    if isinstance(error, Exception):
        raise error
    if error is not None:
        raise _ended(error) from error
    return result


def _ended(error: BaseException) -> DeliveryFailed:
    return DeliveryFailed(
        f"The handler raised {error_line(error)}",
        code="HANDLER_ENDED",
        hint="A handler raises errors only.",
    )
