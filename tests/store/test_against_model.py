"""Both stores against a plain model, through any sequence of operations."""

import shutil
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eskit.domain.claims import claim, release
from eskit.domain.commands import AppendResult, Command
from eskit.domain.streams import ANY, NO_STREAM, STREAM_EXISTS
from eskit.errors import ClaimTaken, CommandIdReused, VersionConflict
from eskit.operations.erasing import erase
from eskit.operations.pruning import prune_commands
from eskit.store.memory import MemoryLog
from eskit.testing.store_contract import COMMAND_TTL, SettableClock, text
from eskit.testing.store_contract.samples import snapshot
from tests.support.stores import memory_store, sqlite_store

STREAMS = st.sampled_from(["Account-1", "Account-2", "Order-1"])
TENANTS = st.sampled_from(["", "acme"])
CHANGES = st.builds(
    lambda make, value: make("name", value),
    st.sampled_from([claim, release]),
    st.sampled_from(["x", "y"]),
)
EVENTS = st.lists(st.lists(CHANGES, max_size=2), max_size=3)
EXPECTED = st.sampled_from([ANY, NO_STREAM, STREAM_EXISTS, 0, 1, 2, "right"])
SCHEMAS = st.sampled_from(["a", "b"])
COMMANDS = st.none() | st.builds(
    Command,
    id=st.sampled_from(["c1", "c2", "c3"]),
    fingerprint=st.sampled_from(["Open", "Close"]),
    response=st.binary(max_size=3),
)


class StoreMachine(RuleBasedStateMachine):
    """The model: lists and dicts, changed only when the rules of the port allow it."""

    def __init__(self):
        super().__init__()
        self.clock = SettableClock()
        self.log = []
        self.versions = defaultdict(int)
        self.last_positions = defaultdict(int)
        self.owners = {}
        self.commands = {}
        self.head_time = datetime.min.replace(tzinfo=UTC)
        self.erased = {}
        self.snapshots = defaultdict(dict)
        self.store = self.open()

    @rule(
        stream=STREAMS,
        tenant=TENANTS,
        events=EVENTS,
        expected=EXPECTED,
        command=COMMANDS,
    )
    def append(self, stream, tenant, events, expected, command):
        version = self.versions[stream, tenant]
        expected = version if expected == "right" else expected
        should = self.expectation(stream, tenant, events, expected, command)

        try:
            outcome = self.store.for_tenant(tenant).append(
                stream,
                [text(f"{len(self.log)}-{i}", *changes) for i, changes in enumerate(events)],
                expected_version=expected,
                command=command,
            )
        except (VersionConflict, ClaimTaken, CommandIdReused) as error:
            outcome = type(error)

        if isinstance(should, dict):
            assert isinstance(outcome, AppendResult)
            self.accept(stream, tenant, events, command, should, outcome)
        else:
            assert outcome == should

    def expectation(self, stream, tenant, events, expected, command):
        """The error, the first result, or the claims as they will be."""
        version = self.versions[stream, tenant]
        if command and (first := self.remembered(command.id, tenant)):
            _, fingerprint, first_stream, result = first
            if (fingerprint, first_stream) != (command.fingerprint, stream):
                return CommandIdReused
            return result
        rules = {ANY: True, NO_STREAM: version == 0, STREAM_EXISTS: version > 0}
        if not rules.get(expected, expected == version):
            return VersionConflict
        owners = dict(self.owners)
        for change in (change for changes in events for change in changes):
            key = (tenant, change.index, change.value)
            if change.operation == "claim":
                if owners.setdefault(key, stream) != stream:
                    return ClaimTaken
            elif owners.get(key) == stream:
                del owners[key]
        return owners

    def accept(self, stream, tenant, events, command, owners, outcome):
        for number in range(len(events)):
            self.versions[stream, tenant] += 1
            self.log.append((stream, tenant, self.versions[stream, tenant]))
            if number == len(events) - 1:
                self.last_positions[stream, tenant] = outcome.global_position
        self.owners = owners
        result = AppendResult(
            version=self.versions[stream, tenant],
            global_position=self.last_positions[stream, tenant],
            response=command.response if command else b"",
        )
        assert outcome == result
        if events:
            self.head_time = max(self.head_time, self.clock.now)
        if command:
            first = AppendResult(
                version=result.version,
                global_position=result.global_position,
                already_processed=True,
                response=result.response,
            )
            self.commands[tenant, command.id] = (
                max(self.clock.now, self.head_time),
                command.fingerprint,
                stream,
                first,
            )

    def remembered(self, command_id, tenant):
        return self.commands.get((tenant, command_id))

    def is_old(self, made):
        """Whether so much time has passed since, of which no gap counts for more than a day."""
        times = sorted({record[0] for record in self.commands.values()}, reverse=True)
        age, later = timedelta(), self.clock.now
        for time in (time for time in times if made <= time <= later):
            age += min(later - time, COMMAND_TTL / 7)
            later = time
        return age > COMMAND_TTL

    @rule(days=st.sampled_from([-1, 1, 8]))
    def move_the_clock(self, days):
        self.clock.move(days=days)

    @rule()
    def reopen(self):
        self.store.close()
        self.store = self.open()

    @precondition(lambda self: self.log)
    @rule(data=st.data(), schema=SCHEMAS, keep=st.integers(1, 3))
    def take_a_snapshot(self, data, schema, keep):
        event = data.draw(st.sampled_from(list(self.store.read_all())))
        key = event.stream, event.tenant

        kept = self.store.snapshots.save(snapshot(event, schema=schema), keep=keep)

        assert kept == (key not in self.erased)
        if kept:
            taken = {**self.snapshots[key], event.version: schema}
            self.snapshots[key] = {version: taken[version] for version in sorted(taken)[-keep:]}

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def erase(self, data):
        stream, tenant, _ = data.draw(st.sampled_from(self.log))

        erase(self.store.for_tenant(tenant), [stream], reason="asked", erased_by="ann")

        self.erased[stream, tenant] = self.versions[stream, tenant]
        self.snapshots.pop((stream, tenant), None)
        self.owners = {
            key: owner for key, owner in self.owners.items() if (owner, key[0]) != (stream, tenant)
        }
        for key, (made, fingerprint, first_stream, first) in self.commands.items():
            if (first_stream, key[0]) == (stream, tenant):
                blank = AppendResult(
                    version=first.version,
                    global_position=first.global_position,
                    already_processed=True,
                )
                self.commands[key] = made, fingerprint, stream, blank

    @rule()
    def prune_commands(self):
        expired = [key for key, record in self.commands.items() if self.is_old(record[0])]

        assert prune_commands(self.store).commands == len(expired)

        for key in expired:
            del self.commands[key]

    @precondition(lambda self: self.log)
    @rule(data=st.data(), backward=st.booleans())
    def read_a_part(self, data, backward):
        positions = [event.global_position for event in self.store.read_all()]
        after = data.draw(st.sampled_from([0, *positions]))
        before = data.draw(st.sampled_from([*positions, positions[-1] + 1]))
        limit = data.draw(st.integers(0, 4))

        part = self.store.read_all(
            after=after, before=before, limit=limit, backward=backward, categories=["Account"]
        )

        matching = [
            position
            for position, (stream, _, _) in zip(positions, self.log, strict=True)
            if after < position < before and stream.startswith("Account-")
        ]
        if backward:
            matching.reverse()
        assert [event.global_position for event in part] == matching[:limit]

    @invariant()
    def the_store_is_the_model(self):
        events = list(self.store.read_all())
        positions = [event.global_position for event in events]
        times = [event.recorded_at for event in events]
        assert [(event.stream, event.tenant, event.version) for event in events] == self.log
        assert [event.erased for event in events] == [
            version <= self.erased.get((stream, tenant), 0) for stream, tenant, version in self.log
        ]
        assert positions == sorted(set(positions))
        assert times == sorted(times)
        for (stream, tenant), version in self.versions.items():
            assert self.store.for_tenant(tenant).stream_version(stream) == version
        for (stream, tenant), taken in self.snapshots.items():
            for schema in ("a", "b"):
                snapshots = self.store.for_tenant(tenant).snapshots
                found = snapshots.find(stream, schema=schema, fold_version=1)
                newest = max((v for v, known in taken.items() if known == schema), default=None)
                assert (found and found.version) == newest
        for tenant in ("", "acme"):
            for value in ("x", "y"):
                owner = self.owners.get((tenant, "name", value))
                assert self.store.for_tenant(tenant).find_claim("name", value) == owner
            for command_id in ("c1", "c2", "c3"):
                known = self.remembered(command_id, tenant) is not None
                found = self.store.for_tenant(tenant).find_command(command_id)
                assert (found is not None) == known

    def teardown(self):
        self.store.close()


class MemoryMachine(StoreMachine):
    def __init__(self):
        self.memory = MemoryLog()
        super().__init__()

    def open(self):
        return memory_store(log=self.memory, clock=self.clock)


class SqliteMachine(StoreMachine):
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp())
        super().__init__()

    def open(self):
        path = self.folder / "log.db"
        return sqlite_store(path, f"sqlite:///{path}", synchronous="NORMAL", clock=self.clock)

    def teardown(self):
        super().teardown()
        shutil.rmtree(self.folder)


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=30)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(max_examples=25, stateful_step_count=30)
