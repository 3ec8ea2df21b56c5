"""One world: a log, read models, processes that work with them, and the steps of a schedule."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from asyncio import events
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from eskit import ANY, App, NewEvent, ReactionContext, RecordedEvent
from eskit.app import RunningApp
from eskit.cqrs.options import CallOptions
from eskit.domain.ids import derived_id
from eskit.errors import (
    EskitError,
)
from eskit.messaging.relay import Relay
from eskit.messaging.skips import list_relay_skips, skip_in_relay
from eskit.messaging.subscriber import Subscriber
from eskit.messaging.subscriptions_store import store_bus
from eskit.operations.erasing import erase
from eskit.operations.exporting import export_log
from eskit.operations.importing import import_log
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from eskit.projections.policy import FailurePolicy
from eskit.projections.projection import EventContext
from eskit.projections.records import ProjectionDeadLetter
from eskit.projections.sqlite.read_models import SqliteReadModels
from eskit.store import repository
from eskit.store.memory import MemoryLog
from eskit.store.notifying import AppendNotifier
from eskit.store.snapshotting import SnapshotPolicy, check_snapshot, create_snapshot
from tests.simulation import bank, reacting
from tests.simulation.bank import PROJECTIONS
from tests.simulation.broker import Broker, SimPublisher
from tests.simulation.clock import SimClock, SimLoop, Stuck
from tests.simulation.memory import Memory, MemoryReadModels
from tests.simulation.oracle import Oracle
from tests.simulation.ports import Crash, Process, SimReadModels, SimStore
from tests.simulation.promises import Promises
from tests.simulation.reacting import Reacting
from tests.simulation.rows import RowsInFile, rows_of
from tests.simulation.schedule import Schedule, Step
from tests.simulation.wrong import Wrong
from tests.support.stores import memory_store, sqlite_store

ACCOUNTS = 4
_MOST_LOOKS = 20_000
"""At the clock, the store and the read model, in one step."""
_BY = {"reason": "simulated", "by": "simulation"}
# Nothing in a schedule is a reason for these.
_NEVER = {
    "CHECKPOINT_MISMATCH",
    "LOG_BROKEN",
    "MIGRATION_INVALID",
    "READ_MODEL_DAMAGED",
    "REBUILD_NEEDED",
}


_NOTHING_TO_PROJECTIONS = {"append", "command", "fault", "mend", "away", "pass", "date"}


@dataclass(slots=True)
class Fault:
    """What is wrong with one event in one projection: its handler raises, or is slow."""

    kind: str
    times: int


class HandlerError(Exception):
    """What a handler raises."""


_STATUS_EVERY = 4
_FILES_EVERY = 11
"""In one world of so many the read models are files of SQLite."""


class World:
    """Carries out the steps of one schedule and keeps account of what they were promised."""

    def __init__(self, schedule: Schedule, folder: Path, *, files: bool) -> None:
        """`files`: the read models are in SQLite, else in memory; every schedule runs alike."""
        self.schedule = schedule
        self.config = schedule.config
        self.folder = folder
        self.files = files
        self._read_models = folder / "read.db"
        self.clock = SimClock(tick=self.config["tick"])
        self.trace: list[str] = []
        self.faults: dict[tuple[str, int], Fault] = {}
        self._during: dict[int, list[Step]] = {}
        self._points = self._looks = 0
        self._nested = False
        self._log = MemoryLog(notifier=AppendNotifier(self.clock))
        self._was_away = False
        self._last = 0.0
        self._checks = 0
        self._memory = Memory()
        store, models = self.open_store(), self._open_models()
        rows = RowsInFile(self._read_models) if self.files else self._memory
        self.oracle = Oracle(store, models, rows, self._has_grown)
        self.promises = Promises()
        self.broker = Broker()
        app = self.app(Process("nobody"))
        self._subscription = bank.reward(lambda _context, _execute: None).subscription(
            app.upcasters
        )
        self.reaction = Reacting(store, self._subscription, self.clock, self.oracle.is_erased)
        self._engine = ProjectionEngine(store, app.projections, models, upcasters=app.upcasters)
        if self.config.get("effects"):
            bank.answering.append(self._answer)
        self.processes: dict[str, tuple[Process, RunningApp, ExitStack]] = {}
        self.clock.on_wait = self._on_wait

    # What the world is made of.

    def open_store(self) -> Any:
        """The store, as another process opens it."""
        if self.config["store"] == "memory":
            return memory_store(log=self._log, clock=self.clock)
        path = self.folder / "log.db"
        return sqlite_store(path, f"sqlite:///{path}", synchronous="NORMAL", clock=self.clock)

    def _has_grown(self, length: int) -> bool:
        """Whether the log may have more events than that."""
        return self.config["store"] != "memory" or len(self._log.rows) > length

    def _open_models(self) -> Any:
        if self.files:
            return SqliteReadModels(f"sqlite:///{self._read_models}", clock=self.clock)
        return MemoryReadModels(self._memory, self.clock)

    def app(self, process: Process) -> App:
        """The app as a process runs it: its handlers meet the faults of this world."""

        def around(name: str, context: EventContext, write: Callable[[], None]) -> None:
            self._handle(process, name, context, write)

        policies = {name: FailurePolicy(**self.config["policies"][name]) for name in PROJECTIONS}
        every = self.config.get("snapshots", 0)
        return App(
            "bank",
            aggregates=[bank.Account],
            snapshots=SnapshotPolicy(every=every, keep=1 + every % 2) if every else None,
            upcasters=bank.UPCASTERS,
            projections=[bank.projection(name, policies[name], around) for name in PROJECTIONS],
        )

    def process(self, name: str) -> tuple[Process, RunningApp]:
        """A process, started if it is not running."""
        if name not in self.processes:
            process, stack = Process(name), ExitStack()
            process.on_point = self._come_in
            process.on_swapped = self.oracle.exchanged
            store = self.open_store()
            stack.callback(store.close)
            keep = self.config.get("keep", False)
            models = SimReadModels(self._open_models(), process, keep=keep)
            opened = self.app(process).open(
                SimStore(store, process), read_models=models, clock=self.clock
            )
            self.processes[name] = process, stack.enter_context(opened), stack
        process, running, _ = self.processes[name]
        return process, running

    def end_process(self, name: str) -> None:
        """Close what a process has open."""
        if name in self.processes:
            self.processes.pop(name)[2].close()

    def close(self) -> None:
        """End everything."""
        bank.answering.clear()
        for name in list(self.processes):
            self.end_process(name)
        self.oracle.close()

    # How others come in between.

    def _on_wait(self) -> None:
        for process, _, _ in self.processes.values():
            if process.in_transaction:
                self._come_in(False)
                return
        self._come_in(True)

    def _come_in(self, free: bool) -> None:  # noqa: FBT001 - called back
        """Let another process do what the schedule has for this point, if it can be done here."""
        self._looks += 1
        if self._looks > _MOST_LOOKS:
            self._looks = 0
            raise Stuck("goes on for ever")
        if self._nested:
            return
        self._points += 1
        for step in self._during.pop(self._points, []):
            if not free and step.do not in {"append", "command"}:
                self._during.setdefault(self._points + 1, []).append(step)
                continue
            self._nested = True
            try:
                self._do(step, "other")
            finally:
                self._nested = False
            self._last = self.clock.elapsed

    def _handle(
        self, process: Process, name: str, context: EventContext, write: Callable[[], None]
    ) -> None:
        """What a handler does in this world."""
        if process.dead:
            raise Crash
        self.clock.pass_time(self.config["pace"])
        fault = self.faults.get((name, context.position))
        if fault is None or not fault.times:
            write()
            return
        fault.times -= 1
        if fault.kind == "slow":
            self.clock.pass_time(self.config["slow"])
            write()
            return
        if fault.kind != "before":
            write()
        if fault.kind == "exit":
            raise SystemExit(f"{name} at {context.position}")
        if fault.kind == "constraint":
            rows_of(context.db).break_constraint(name)
        raise HandlerError(f"{name} at {context.position}")

    def _answer(self, name: str, position: int) -> None:
        """What an effect does in this world."""
        fault = self.faults.get(("effects", position))
        fails = fault is not None and fault.times > 0
        self.oracle.told(name, position, well=not fails)
        if fault is not None and fails:
            fault.times -= 1
            raise HandlerError(f"the effect of {position}")

    # Steps.

    def do(self, step: Step) -> None:
        """Carry out one step of the schedule, then check everything."""
        self._points = self._looks = 0
        self._during = {}
        self._last = self.clock.elapsed
        for at, nested in step.during:
            self._during.setdefault(at, []).append(nested)
        self._do(step, "server")
        self.clock.forget()
        if step.do != "away":
            self._was_away = False
            for process, _, _ in self.processes.values():
                process.away.clear()
        self._during = {}
        if step.during or step.do not in _NOTHING_TO_PROJECTIONS:
            self.check()

    def _do(self, step: Step, where: str) -> None:
        process, running = self.process(where)
        if step.crash is not None:
            process.arm(*step.crash)
        carry_out = getattr(self, f"_step_{step.do}")
        try:
            outcome = carry_out(process, running, **step.args)
        except Crash:
            if not process.dead:
                raise
            outcome = "crashed"
        except EskitError as error:
            if error.code in _NEVER:
                raise Wrong(f"{step.do} met {error.code}: {error}") from error
            outcome = error.code
        finally:
            process.disarm()
            self.oracle.observe()
        if process.dead:
            self.end_process(where)
        self.tell(where, step.text, str(outcome))

    def tell(self, where: str, what: str, outcome: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.clock.elapsed:10.3f} {where:<6} {what}: {outcome}")

    def check(self) -> None:
        """What holds at every moment; the status of one projection after the other."""
        self.oracle.observe()
        self.oracle.check_projections()
        self.broker.check(self.oracle.places())
        if self.config["reaction"]:
            self.reaction.check(self.oracle.log())
        self._checks += 1
        if self._checks % _STATUS_EVERY == 0:  # it takes its time
            name = PROJECTIONS[self._checks // _STATUS_EVERY % len(PROJECTIONS)]
            self.oracle.check_status(self._engine.status([name])[0])

    def _step_append(
        self,
        process: Process,
        running: RunningApp,
        *,
        account: int,
        events: int,
        expect: str,
        number: int = 0,
        old: bool = False,
    ) -> object:
        """Events appended past the commands, as an import or a script does."""
        stream = f"Account-a{account % ACCOUNTS}"
        version = running.store.stream_version(stream)
        expected = {"any": ANY, "right": version, "stale": version + 1}[expect]
        account_id = stream.removeprefix("Account-")
        new = [
            NewEvent(
                bank.PaidIn(account_id=account_id, coins=place + 1)
                if old
                else bank.Deposited(account_id=account_id, amount=place + 1),
                event_id=derived_id(str(number), str(place)) if number else "",
            )
            for place in range(events)
        ]
        stale = expect == "stale"
        with self.promises.appending(number, stream, new, stale=stale) as appended:
            appended(running.store.append(stream, new, expected_version=expected))
        return running.store.head_position()

    def _step_command(
        self,
        process: Process,
        running: RunningApp,
        number: int,
        kind: str,
        account: int,
        amount: int,
    ) -> object:
        """A command under an id, which may be that of one before."""
        account_id = f"a{account % ACCOUNTS}"
        command = bank.COMMANDS[kind](account_id=account_id, amount=amount)
        with self.promises.commanding(f"command-{number}", command) as answered:
            options = CallOptions(command_id=f"command-{number}")
            reply = running.handle(self._method(running, kind), command, options)
            answered(reply)
        balance = self.oracle.balance(f"Account-{account_id}", reply.global_position)
        if balance not in {None, reply.message.balance}:
            raise Wrong(
                f"command-{number} was answered with {reply.message.balance} at "
                f"{reply.global_position}, the events give {balance}"
            )
        return reply.global_position

    def _method(self, running: RunningApp, kind: str) -> Any:
        return running.app.method(f"{bank.PACKAGE}.AccountCommandService/{kind.title()}")

    def _step_run(
        self, process: Process, running: RunningApp, names: list[str], events: int, seconds: float
    ) -> object:
        """Projections brought up to the head."""
        limits = BatchLimits(events=events, seconds=seconds)
        reports = running.engine.run_each(names, limits=limits)
        self._refuse_never(report.error for report in reports)
        return [(report.name, report.position, bool(report.error)) for report in reports]

    def _step_serve(
        self, process: Process, running: RunningApp, seconds: float, events: int
    ) -> object:
        """Projections followed for some time."""
        stop = Event()
        self.clock.call_in(seconds, stop.set)
        limits = BatchLimits(events=events, seconds=0.25)
        slow = sum(fault.times for fault in self.faults.values() if fault.kind == "slow")
        reports = running.engine.run_each(once=False, limits=limits, stop=stop)
        self._refuse_never(report.error for report in reports)
        needed = 1 + slow * self.config["slow"]
        needed += 4 * self.config["pace"] * self._engine.head_position()
        if not self._was_away and self.clock.elapsed - self._last > needed:
            faulty = {name for name, _ in self.faults}
            self.oracle.check_served(self._engine.status(), faulty)
        return [(report.name, report.position, bool(report.error)) for report in reports]

    def _refuse_never(self, errors: Iterator[EskitError | None]) -> None:
        for error in errors:
            if error is not None and error.code in _NEVER:
                raise error

    def _step_fault(
        self, process: Process, running: RunningApp, name: str, ahead: int, kind: str, times: int
    ) -> object:
        """From now on a projection's handler raises on an event, or is slow."""
        if name == reacting.NAME:
            position = (self.reaction.status().position or 0) + 1 + ahead
        elif name == "effects":
            position = self._engine.head_position() + 1 + ahead
        else:
            position = self.oracle.find_wanted(name, ahead)
        self.faults[name, position] = Fault(kind, times)
        return position

    def _step_mend(self, process: Process, running: RunningApp, name: str) -> object:
        """The handler of a projection is mended."""
        self.faults = {key: fault for key, fault in self.faults.items() if key[0] != name}
        return "mended"

    def _step_away(self, process: Process, running: RunningApp, part: str, calls: int) -> object:
        """The store or the read model cannot be used for some calls."""
        self._was_away = True
        for found, _, _ in self.processes.values():
            found.away[part] = calls
        return calls

    def _step_pass(self, process: Process, running: RunningApp, seconds: float) -> object:
        """Time goes by."""
        self.clock.pass_time(seconds)
        return seconds

    def _step_date(self, process: Process, running: RunningApp, seconds: float) -> object:
        """The date is corrected."""
        self.clock.set_date(seconds)
        return seconds

    def _step_restart(self, process: Process, running: RunningApp) -> object:
        """Everything is stopped and started again."""
        if self._nested:
            return "not here"
        for name in list(self.processes):
            self.end_process(name)
        return "restarted"

    def _step_snapshot(self, process: Process, running: RunningApp, account: int) -> object:
        """A snapshot is taken by hand."""
        kind, upcasters = bank.Account, running.app.upcasters
        with process.committing():
            made = create_snapshot(
                running.store,
                kind,
                f"a{account % ACCOUNTS}",
                upcasters=upcasters,
                policy=running.app.snapshots,
                clock=self.clock,
            )
        return made.version

    def _step_erase(self, process: Process, running: RunningApp, account: int) -> object:
        """What a stream said is erased for good."""
        stream = f"Account-a{account % ACCOUNTS}"
        self.oracle.log()
        try:
            with process.committing():
                erased = erase(running.store, [stream], reason="simulated", erased_by="simulation")
        finally:
            self.oracle.erased(stream, during=self._nested)
        left = [event for event in self.oracle.store.read_stream(stream) if not event.erased]
        if left and left[0].version <= erased[0].version:
            raise Wrong(f"{stream} was erased, and has {left[0]}")
        return erased[0].events

    # What operators do.

    def _choose_letter(
        self, running: RunningApp, name: str, which: int
    ) -> ProjectionDeadLetter | None:
        """One that waits in the projection of that name or, if none does, in another."""
        for each in (name, *PROJECTIONS):
            letters = running.engine.dead_letters(each)
            if letters:
                return letters[which % len(letters)]
        return None

    def _step_skip(self, process: Process, running: RunningApp, name: str, which: int) -> object:
        """An event that waits is never handled."""
        letter = self._choose_letter(running, name, which)
        if letter is None:
            return "none"
        running.engine.skip_event(letter, **_BY)
        return letter.position

    def _step_retry(self, process: Process, running: RunningApp, name: str, which: int) -> object:
        """An event that was set aside is tried again."""
        letter = self._choose_letter(running, name, which)
        if letter is None:
            return "none"
        return running.engine.retry_dead_letter(letter, **_BY).handled

    def _step_pause(self, process: Process, running: RunningApp, name: str) -> object:
        """A projection is paused."""
        running.engine.pause(name, **_BY)
        return "paused"

    def _step_resume(self, process: Process, running: RunningApp, name: str) -> object:
        """A projection may go on."""
        paused = [each for each in (name, *PROJECTIONS) if self.oracle.is_paused(each)]
        running.engine.resume(paused[0] if paused else name, **_BY)
        return "resumed"

    def _step_checkpoint(
        self, process: Process, running: RunningApp, name: str, part: float
    ) -> object:
        """A projection is to go on from elsewhere."""
        position = int(running.engine.head_position() * part)
        return running.engine.set_checkpoint(name, position, **_BY).after

    def _step_rebuild(
        self, process: Process, running: RunningApp, name: str, *, in_place: bool
    ) -> object:
        """The rows of a projection are made anew."""
        head = running.engine.head_position()
        position = running.engine.rebuild(name, in_place=in_place).position
        if position < head:
            raise Wrong(f"A rebuild of {name} came to {position} of {head}")
        return position

    def _step_diff(self, process: Process, running: RunningApp, name: str) -> object:
        """The rows of a projection are compared with what its events make."""
        found = running.engine.diff(name)
        self.oracle.check_diff(found)
        return found.equal

    # What is published, and what is done about events.

    def _step_relay(self, process: Process, running: RunningApp, batch: int) -> object:
        """The log published up to its head."""
        relay = self._relay(process, running, batch)
        return self._await(process, relay.run_once()).position

    def _step_publish(
        self, process: Process, running: RunningApp, batch: int, seconds: float
    ) -> object:
        """The log published for some time."""
        relay = self._relay(process, running, batch)

        async def publish() -> Any:
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(seconds, stop.set)
            return await relay.run(stop)

        return self._await(process, publish()).position

    def _relay(self, process: Process, running: RunningApp, batch: int) -> Relay:
        relay = Relay(running.store, SimPublisher(self.broker, process))
        relay.BATCH = batch
        return relay

    def _step_mishap(self, process: Process, running: RunningApp, kinds: list[str]) -> object:
        """What befalls the next publishes."""
        self.broker.mishaps += kinds
        return len(self.broker.mishaps)

    def _step_age(self, process: Process, running: RunningApp) -> object:
        """What the broker has is thrown away, because it is old."""
        self.broker.age_out()
        return self.broker.sequence

    def _step_arrive(self, process: Process, running: RunningApp) -> object:
        """What was long under way to the broker arrives."""
        self.broker.deliver_late()
        return self.broker.sequence

    def _step_refuse(self, process: Process, running: RunningApp, ahead: int) -> object:
        """The broker takes no message of an event that is still to be published."""
        position = self.broker.next_position + ahead
        self.broker.refused.add(position)
        return position

    def _step_pass_over(self, process: Process, running: RunningApp) -> object:
        """An event that the broker does not take is not to be published."""
        waiting = sorted(self.broker.refused - self.broker.skipped)
        event = running.store.find_event(waiting[0]) if waiting else None
        if event is None:
            return "none"
        try:
            with process.committing():
                skip_in_relay(running.store, event, error="too large", clock=self.clock, **_BY)
                self.broker.skipped.add(event.global_position)
        finally:
            self.broker.skipped |= self._listed_skips()
        return event.global_position

    def _listed_skips(self) -> set[int]:
        """What is said to be passed over by decision."""
        return {skip.position for skip in list_relay_skips(self.oracle.store)}

    def _step_react(self, process: Process, running: RunningApp, seconds: float) -> object:
        """The reaction at work for some time."""

        async def react(subscriber: Subscriber) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await subscriber.wait()

        return self._react(process, running, react)

    def _react(
        self,
        process: Process,
        running: RunningApp,
        during: Callable[[Subscriber], Awaitable[None]],
    ) -> object:
        async def react() -> object:
            bus = store_bus(running.store, clock=self.clock)
            subscriber = await bus.subscribe(self._subscription, self._reacting(process, running))
            await during(subscriber)
            await subscriber.stop()
            return subscriber.position

        return self._await(process, react())

    def _reacting(self, process: Process, running: RunningApp) -> Callable[[RecordedEvent], None]:
        def around(context: ReactionContext, execute: Callable[[], None]) -> None:
            process.check()
            self.clock.pass_time(self.config["pace"])
            position = context.event.global_position
            fault = self.faults.get((reacting.NAME, position))
            kind = ""
            if fault is not None and fault.times:
                fault.times -= 1
                kind = fault.kind
            if kind == "slow":
                self.clock.pass_time(self.config["slow"])
            if kind != "before":
                execute()
            if kind not in {"", "slow"}:
                raise HandlerError(f"{reacting.NAME} at {position}")

        return partial(running.react, bank.reward(around))

    def _step_decide(
        self, process: Process, running: RunningApp, which: int, *, skip: bool
    ) -> object:
        """An event that the reaction set aside is handled now, or never."""
        react = self._reacting(process, running)

        async def handle(event: RecordedEvent) -> None:
            react(event)

        async def decide() -> object:
            letters = store_bus(running.store, clock=self.clock).dead_letters
            waiting = await letters.waiting(reacting.NAME)
            if not waiting:
                return "none"
            letter = waiting[which % len(waiting)]
            if skip:
                await letters.skip(letter, **_BY)
            else:
                await letters.retry(letter, handle, **_BY)
            return letter.event.global_position

        return self._await(process, decide())

    def _await(self, process: Process, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine, in a loop of its own: it may run within that of another."""
        loop, outer = SimLoop(self.clock, process.check), events._get_running_loop()
        events._set_running_loop(None)
        try:
            return loop.run_until_complete(work)
        finally:
            events._set_running_loop(outer)
            for task in asyncio.all_tasks(loop):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(BaseException):
                    task.get_coro().close()
            loop.close()

    # The end.

    def settle(self) -> None:
        """Everything that was wrong is put right: then all is done that was ever to be done."""
        self._looks = 0
        self.faults.clear()
        for name in list(self.processes):
            self.end_process(name)
        process, running = self.process("server")
        if self.config["reaction"]:
            self._react_last(process, running)
        engine = running.engine
        for status in self._engine.status():
            if status.pause:
                engine.resume(status.name, **_BY)
        for report in engine.run_each():
            if report.error is not None:
                raise Wrong(f"{report.name} still stops: {report.error}") from report.error
        for name in PROJECTIONS:
            self._retry_all(running, name)
        self.check()
        if self.config.get("effects"):
            self.oracle.check_told()
        self._rebuild_last(running)
        self._check_snapshots(running)
        self._check_export(running)
        self._publish_last(process, running)
        self.promises.check(list(self.oracle.store.read_all()))

    def _publish_last(self, process: Process, running: RunningApp) -> None:
        """The whole log, but for what is never to be published."""
        self.broker.mishaps.clear()
        self.broker.deliver_late()
        self.broker.refused &= self.broker.skipped
        if self._listed_skips() != self.broker.skipped:
            raise Wrong(f"To skip {self.broker.skipped} was decided, not {self._listed_skips()}")
        published = self._step_relay(process, running, 1000)
        if published != running.engine.head_position():
            raise Wrong(f"The relay comes to {published} only")
        self.broker.check(self.oracle.places())

    def _check_snapshots(self, running: RunningApp) -> None:
        """Each is what the events before it give, and none is left of what was erased."""
        store = self.oracle.store
        for snapshot in store.snapshots.read():
            found = check_snapshot(store, snapshot, bank.Account, running.app.upcasters).verdict
            balance = self.oracle.balance_at(snapshot.stream, snapshot.version)
            if found != "ok" or bank.State.FromString(snapshot.state).balance != balance:
                raise Wrong(f"The snapshot {snapshot} is {found}, the balance was {balance}")

    def _check_export(self, running: RunningApp) -> None:
        """An export has every event, and of what was erased nothing."""
        if not self.config.get("exports"):
            return
        export_log(running.store, self.folder / "export")
        import_log(self.folder / "export", f"sqlite:///{self.folder}/imported.db")
        with sqlite_store(self.folder / "imported.db", "sqlite:///imported.db") as imported:
            found = list(imported.read_all())
        for event, stored in zip(found, self.oracle.log(), strict=True):
            erased = self.oracle.is_erased(stored)
            if event.event_id != stored.event_id or event.erased != erased:
                raise Wrong(f"The export has {event} in place of {stored}")
            if event.data != (b"" if erased else stored.data):
                raise Wrong(f"The export has {event.data!r} of {stored}")

    def _react_last(self, process: Process, running: RunningApp) -> None:
        """What the reaction was to do is done."""

        async def until_done(subscriber: Subscriber) -> None:
            for _ in range(200):
                await asyncio.sleep(0.5)
                if subscriber.state == "running" and not self.reaction.status().lag:
                    break

        self._react(process, running, until_done)
        while self._step_decide(process, running, 0, skip=False) != "none":
            pass
        self.reaction.check_settled(self.oracle.log())

    def _retry_all(self, running: RunningApp, name: str) -> None:
        """Everything that was set aside is handled."""
        for _ in range(1000):
            letters = running.engine.dead_letters(name)
            aside = [letter for letter in letters if letter.state in {"failed", "waiting"}]
            if not aside:
                return
            running.engine.retry_dead_letter(aside[0], **_BY)
        raise Wrong(f"The dead letters of {name} never come to an end")

    def _rebuild_last(self, running: RunningApp) -> None:
        """One in three is made anew, and every one whose rebuild has failed before."""
        names = {name for name in PROJECTIONS if self.oracle.has_failures(name)}
        if self.schedule.seed % 3 == 0:
            names.add(PROJECTIONS[self.schedule.seed % 7 % len(PROJECTIONS)])
        for name in sorted(names):
            running.engine.rebuild(name)
        self.check()
        for status in self._engine.status():
            self.oracle.check_status(status)
            self.oracle.check_settled(status)
        for name in sorted(names):
            self.oracle.check_diff(running.engine.diff(name))


@contextmanager
def world_of(schedule: Schedule, *, files: bool | None = None) -> Iterator[World]:
    """A world in a folder that is gone afterwards."""
    if files is None:
        files = schedule.seed % _FILES_EVERY == 0
    needed = files or schedule.config["store"] != "memory" or schedule.config.get("exports")
    folder = _make_folder() if needed else Path(os.devnull)
    state, long = random.getstate(), repository.LONG
    random.seed(schedule.seed)
    if schedule.seed % 2:  # streams are too short here for their states to be kept in memory
        repository.LONG = 2
    try:
        world = World(schedule, folder, files=files)
        try:
            yield world
        finally:
            with suppress(Crash):
                world.close()
    finally:
        random.setstate(state)
        repository.LONG = long
        if needed:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    """In memory, where the machine has such folders."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="eskit-sim-", dir=shared if shared.is_dir() else None))
