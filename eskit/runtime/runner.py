"""Runs services together: started in order, stopped in reverse, none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from eskit.errors import (
    BrokerUnavailable,
    EskitError,
    InvalidArgument,
    ProjectionBusy,
    RequestTimeout,
    ServiceError,
)
from eskit.raised import error_line
from eskit.runtime.service import Checked, Described, Service, Watched

_log = logging.getLogger("eskit.runner")

ServiceState: TypeAlias = Literal["starting", "waiting", "ready", "failed", "stopping", "stopped"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HEALTH_WITHIN = 2.0
_CANCEL_WITHIN = 0.5
_BEGIN_AGAIN = (0.25, 5.0)
_PROVEN_AFTER = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerEvent:
    """A service has come to a new state; `error` says why when it is `failed` or `waiting`.

    `waiting` is for NATS, which is away, or for another process to end. `hint` says what to do.
    """

    service: str
    state: ServiceState
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """Whether a service is well, and if not, what it says; `detail` is what it does."""

    service: str
    healthy: bool
    error: str = ""
    detail: str = ""


class Runner:
    """Starts services one after another, each when the one before is ready.

    When asked to stop, when one of them fails or ends, and when one does not start, all that
    were started are stopped in reverse. `startup_timeout` and `shutdown_timeout` are seconds for
    all services together, and hold even for a service that does not listen. `on_signal` is told of
    the first signal, from within its handler.

    With `keep_going` a service that fails or ends takes no other with it: it is not healthy and is
    begun again, after a pause that grows. So is one that does not start because NATS is away.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        startup_timeout: float = 60.0,
        shutdown_timeout: float = 30.0,
        keep_going: bool = False,
        on_event: Callable[[RunnerEvent], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
        exit_at_once: Callable[[int], object] = os._exit,
    ) -> None:
        names = [service.name for service in services]
        if len(set(names)) != len(names):
            raise InvalidArgument(f"Two services have one name: {', '.join(names)}")
        self._services = tuple(services)
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._keep_going = keep_going
        self._on_event = on_event
        self._on_signal = on_signal
        self._exit_at_once = exit_at_once
        self._started: list[Service] = []
        self._ready: set[str] = set()
        self._failures: dict[str, EskitError] = {}

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until `stop` is set or a signal comes; a second signal ends the process at once.

        Raises what a service failed with, or ServiceError for one that did not start or stop
        in time. By then everything has been stopped. With `keep_going` it raises at the end what a
        service failed with that has not been well again, unless that waits for what may come.
        """
        stop = stop or asyncio.Event()
        failures: list[Exception] = []
        with self._signals(stop):
            try:
                await self._start_all(stop)
                await self._wait(stop)
            except Exception as error:  # noqa: BLE001 - raised again below, after stopping
                failures.append(error)
            finally:
                failures += await self._stop_all()
        failures += [error for error in self._failures.values() if not _may_come(error)]
        if failures:
            raise failures[0]

    async def check_health(self) -> list[ServiceHealth]:
        """How each service is, in order; one that is not ready yet, or any more, is not healthy."""
        return list(await asyncio.gather(*(self._health_of(service) for service in self._services)))

    async def _start_all(self, stop: asyncio.Event) -> None:
        deadline = asyncio.get_running_loop().time() + self._startup_timeout
        for service in self._services:
            if stop.is_set():
                return
            self._tell(service, "starting")
            self._started.append(service)
            left = deadline - asyncio.get_running_loop().time()
            try:
                if not await _within(left, service.start(), unless=stop):
                    return
            except TimeoutError:
                message = f"{service.name} did not start within {self._startup_timeout:g} s"
                raise self._failed(service, ServiceError(message)) from None
            except Exception as error:
                failure = self._failed(service, error)
                if not self._keep_going or not _may_come(failure):
                    raise failure from error
                self._failures[service.name] = failure
                continue
            self._ready.add(service.name)
            self._tell(service, "ready")

    async def _wait(self, stop: asyncio.Event) -> None:
        """Return when asked to stop; raise when a service ends, unless the others keep going."""
        if self._keep_going:
            keepers = [asyncio.create_task(self._keep(service)) for service in self._started]
            try:
                await stop.wait()
            finally:
                for keeper in keepers:
                    keeper.cancel()
                await asyncio.gather(*keepers, return_exceptions=True)
            return
        watches: dict[asyncio.Future[Any], Service] = {
            asyncio.ensure_future(service.wait()): service
            for service in self._started
            if isinstance(service, Watched)
        }
        asked: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            done, _ = await asyncio.wait({asked, *watches}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {asked}:
                error = task.exception() or ServiceError(f"{watches[task].name} ended by itself")
                raise self._failed(watches[task], error) from error
        finally:
            for task in (asked, *watches):
                task.cancel()

    async def _keep(self, service: Service) -> None:
        """Wait until a service fails, and begin it again, over and over."""
        loop = asyncio.get_running_loop()
        shortest, longest = _BEGIN_AGAIN
        pause = shortest
        while True:
            if service.name in self._ready:
                begun = loop.time()
                failure = await self._watch(service)
                if loop.time() - begun > _PROVEN_AFTER:
                    pause = shortest
                self._note(service, failure)
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
            await self._begin_again(service)

    async def _watch(self, service: Service) -> BaseException:
        """What a service ends with; by the way it is well again when it has run for a while."""
        ending = asyncio.ensure_future(_end_of(service))
        try:
            if service.name in self._failures:
                await asyncio.wait({ending}, timeout=_PROVEN_AFTER)
                if not ending.done():
                    self._is_well_again(service)
            return await ending
        finally:
            ending.cancel()

    async def _begin_again(self, service: Service) -> None:
        ran = service.name in self._ready
        self._ready.discard(service.name)
        try:
            await _within(self._shutdown_timeout, service.stop())
            await _within(self._startup_timeout, service.start())
        except TimeoutError:
            self._note(service, ServiceError(f"{service.name} did not start again in time"))
        except Exception as error:  # noqa: BLE001 - reported, and tried again
            self._note(service, error)
        else:
            self._ready.add(service.name)
            if not ran or not isinstance(service, Watched):  # else it may fail once more
                self._is_well_again(service)

    def _is_well_again(self, service: Service) -> None:
        del self._failures[service.name]
        self._tell(service, "ready")

    def _note(self, service: Service, error: BaseException) -> None:
        """Keep what a service failed with, and report it unless it was reported before."""
        known = self._failures.get(service.name)
        failure = _as_told(service, error)
        self._failures[service.name] = failure
        if known is None or str(known) != str(failure):
            self._failed(service, error)

    async def _stop_all(self) -> list[Exception]:
        """Stop what was started, in reverse, whatever goes wrong on the way."""
        deadline = asyncio.get_running_loop().time() + self._shutdown_timeout
        failures: list[Exception] = []
        while self._started:
            service = self._started.pop()
            self._ready.discard(service.name)
            self._tell(service, "stopping")
            left = max(deadline - asyncio.get_running_loop().time(), _CANCEL_WITHIN)
            try:
                await _within(left, service.stop())
            except TimeoutError:
                message = f"{service.name} did not stop within {self._shutdown_timeout:g} s"
                failures.append(self._failed(service, ServiceError(message)))
            except Exception as error:  # noqa: BLE001 - collected, so that the rest is stopped
                failures.append(self._failed(service, error))
            else:
                self._tell(service, "stopped")
        return failures

    async def _health_of(self, service: Service) -> ServiceHealth:
        if service not in self._started:
            return ServiceHealth(service=service.name, healthy=False, error="not started")
        if service.name in self._failures:
            failure = self._failures[service.name]
            return ServiceHealth(service=service.name, healthy=False, error=str(failure))
        if service.name not in self._ready:
            return ServiceHealth(service=service.name, healthy=False, error="not ready yet")
        try:
            if isinstance(service, Checked):
                await _within(_HEALTH_WITHIN, service.check_health())
            detail = service.describe() if isinstance(service, Described) else ""
        except TimeoutError:
            return ServiceHealth(service=service.name, healthy=False, error="no answer")
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
            return ServiceHealth(service=service.name, healthy=False, error=str(error))
        return ServiceHealth(service=service.name, healthy=True, detail=detail)

    def _failed(self, service: Service, error: BaseException) -> EskitError:
        """Tell of the failure, and give what to raise: a clear sentence in any case."""
        if not isinstance(error, EskitError):
            _log.error("Service %s failed", service.name, exc_info=error)
        failure = _as_told(service, error)
        waiting = self._keep_going and _may_come(failure)
        self._tell(service, "waiting" if waiting else "failed", str(failure), failure.hint)
        return failure

    def _tell(self, service: Service, state: ServiceState, error: str = "", hint: str = "") -> None:
        _log.debug("Service %s is %s %s", service.name, state, error)
        if self._on_event is not None:
            self._on_event(RunnerEvent(service=service.name, state=state, error=error, hint=hint))

    @contextlib.contextmanager
    def _signals(self, stop: asyncio.Event) -> Iterator[None]:
        """The first signal asks to stop, the second does not ask."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # Handlers of one's own, because those of the loop wait for it, and a second signal must be
        # obeyed even when a service blocks it. The loop's are there to wake it: one's own are
        # called in between the steps of the main thread, which may just be going to sleep.
        loop = asyncio.get_running_loop()
        asked: list[int] = []
        before = {number: signal.getsignal(number) for number in _SIGNALS}

        def handle(number: int, _frame: object) -> None:
            if asked:
                self._exit_at_once(128 + number)
            asked.append(number)
            if self._on_signal is not None:
                self._on_signal(number)

        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.set)
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


def _as_told(service: Service, error: BaseException) -> EskitError:
    """The error, as a clear sentence in any case."""
    if isinstance(error, EskitError):
        return error
    return ServiceError(f"{service.name} failed: {error_line(error)}")


def _may_come(error: EskitError) -> bool:
    """Whether a service waits for what may come by itself: NATS, or its turn."""
    away = isinstance(error, BrokerUnavailable | RequestTimeout | ProjectionBusy)
    return away and error.code != "BROKER_REFUSED"


async def _end_of(service: Service) -> BaseException:
    """What a service ends with, whatever it is."""
    try:
        if isinstance(service, Watched):
            await service.wait()
        else:
            await asyncio.Event().wait()
    except BaseException as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return error
    return ServiceError(f"{service.name} ended by itself")


async def _within(
    seconds: float, work: Coroutine[Any, Any, object], *, unless: asyncio.Event | None = None
) -> bool:
    """Do `work` in time, TimeoutError if it takes longer; False if `unless` was set before.

    Unlike wait_for it does not wait for work that ignores its cancellation.
    """
    task = asyncio.ensure_future(work)
    waiting: set[asyncio.Future[Any]] = {task}
    asked = asyncio.ensure_future(unless.wait()) if unless is not None else None
    if asked is not None:
        waiting.add(asked)
    try:
        await asyncio.wait(waiting, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        if asked is not None and asked.done():
            return False
        raise TimeoutError
    finally:
        if asked is not None:
            asked.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_WITHIN)
        if task.done() and not task.cancelled():
            task.exception()
