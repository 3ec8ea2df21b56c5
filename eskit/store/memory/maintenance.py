"""Operations on a memory store as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

from eskit.clock import Clock
from eskit.domain.events import EventRow, is_erased
from eskit.domain.time import from_microseconds
from eskit.errors import InvalidArgument, StreamNotFound
from eskit.schema.recorded import EventSchema
from eskit.store.aging import forgotten_before
from eskit.store.maintenance import (
    BackupReport,
    ChangedCommand,
    ChangedEvent,
    CommandRow,
    Erasure,
    HeldClaim,
    LostCommand,
    Misfit,
    PrunedCommands,
    RepeatedId,
    VersionGap,
)
from eskit.store.memory.log import MemoryLog
from eskit.store.progress import ReportProgress
from eskit.store.records import (
    FOLLOWER,
    LETTER,
    Checkpoint,
    CommandRecord,
    count_needed,
    needed_ids,
)
from eskit.store.restoring import changed_claims, check_follows, check_has_happened, id_is_taken
from eskit.text.unicode import check_text


class MemoryView:
    """A StoreView of a log that does not change: a copy, or one whose lock is held."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        return self._log.head_position()

    def count_events(self) -> int:
        """How many events the log has."""
        return len(self._log.rows)

    def count_streams(self) -> int:
        """How many streams have events."""
        return len({(row[1], row[6]) for row in self._log.rows})

    def read_records(
        self, *, after: int = 0, streams: Sequence[tuple[str, str]] = ()
    ) -> Iterator[EventRow]:
        """The log in order of positions."""
        wanted = set(streams)
        return (
            row
            for row in self._log.rows
            if row[0] > after and (not wanted or (row[1], row[6]) in wanted)
        )

    def find_gaps(self) -> Iterator[VersionGap]:
        """Every place where versions are not contiguous."""
        versions: dict[tuple[str, str], int] = {}
        for row in self._log.rows:
            key = row[1], row[6]
            previous = versions.get(key, 0)
            if row[2] != previous + 1:
                yield VersionGap(*key, row[2], row[0], previous)
            versions[key] = row[2]

    def find_lost_commands(self) -> Iterator[LostCommand]:
        """Every remembered command whose event is not there."""
        for (tenant, command_id), (_, record) in self._log.commands.items():
            rows = self._log.streams.get((record.stream, tenant), ())
            if len(rows) < record.version:
                place = record.version, record.global_position
                yield LostCommand(command_id, record.stream, tenant, *place)

    def find_misfits(self, *, log_only: bool = False) -> Iterator[Misfit]:  # noqa: ARG002
        """None: whatever is in memory has been checked."""
        return iter(())

    def find_changed_events(self) -> Iterator[ChangedEvent]:
        """None: memory is not kept for long enough to decay."""
        return iter(())

    def find_changed_commands(self) -> Iterator[ChangedCommand]:
        """None, for the same reason."""
        return iter(())

    def find_repeated_ids(self) -> Iterator[RepeatedId]:
        """None: an id is stored once, and nothing is from before that was so."""
        return iter(())

    def find_lost_ids(self) -> Iterator[int]:
        """None: all are found."""
        return iter(())

    def read_claims(self) -> Iterator[HeldClaim]:
        """All claims that are held, sorted."""
        return (HeldClaim(*key, self._log.claims[key]) for key in sorted(self._log.claims))

    def read_commands(self, *, streams: Sequence[tuple[str, str]] = ()) -> Iterator[CommandRow]:
        """The processed commands, sorted."""
        wanted = set(streams)
        return (
            CommandRow(
                tenant=tenant,
                id=command_id,
                fingerprint=record.fingerprint,
                stream=record.stream,
                version=record.version,
                global_position=record.global_position,
                recorded_at=recorded_at,
                response=record.response,
            )
            for (tenant, command_id), (recorded_at, record) in sorted(
                self._log.commands.items(), key=itemgetter(0)
            )
            if not wanted or (record.stream, tenant) in wanted
        )

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        return [self._log.checkpoints[name] for name in sorted(self._log.checkpoints)]

    def list_erasures(self) -> list[Erasure]:
        """The audit records, oldest first."""
        return list(self._log.erasures)

    def find_damage(self) -> Iterator[str]:
        """Nothing: there is no storage below."""
        return iter(())

    def find_missing_parts(self) -> Iterator[str]:
        """Nothing: there is no storage below."""
        return iter(())


class LockedMemoryView(MemoryView):
    """A view that changes the log, whose lock is held."""

    def put_claim(self, claim: HeldClaim) -> None:
        """Let the stream hold the value."""
        self._log.claims[claim[:3]] = claim.stream

    def drop_claim(self, claim: HeldClaim) -> None:
        """Free the value."""
        self._log.claims.pop(claim[:3], None)

    def add_events(self, records: Iterable[EventRow]) -> None:
        """Add recorded events as they are, after all that the log has."""
        log = self._log
        for record in records:
            check_follows(
                record,
                position=log.head_position(),
                recorded_at=log.rows[-1][5] if log.rows else 0,
                version=len(log.streams.get((record.stream, record.tenant), ())),
            )
            if log.find_by_id(record.event_id) is not None:
                raise id_is_taken(record)
            _run_claims(log.claims, record)
            log.add(record)

    def add_commands(self, commands: Iterable[CommandRow]) -> None:
        """Remember processed commands as they are."""
        for command in commands:
            stored = self._log.streams.get((command.stream, command.tenant), ())
            position = stored[command.version - 1][0] if 0 < command.version <= len(stored) else 0
            check_has_happened(command, version=len(stored), position=position)
            record = CommandRecord(
                id=command.id,
                fingerprint=command.fingerprint,
                stream=command.stream,
                version=command.version,
                global_position=command.global_position,
                response=command.response,
            )
            self._log.commands[command.tenant, command.id] = command.recorded_at, record

    def add_schemas(self, schemas: Sequence[EventSchema]) -> None:
        """Keep the schemas of recorded events."""
        self._log.add_schemas(schemas)

    def add_erasures(self, erasures: Sequence[Erasure]) -> None:
        """Add audit records as they are."""
        for erasure in erasures:
            if (erasure.stream, erasure.tenant) not in self._log.streams:
                raise StreamNotFound(erasure.stream)
        self._log.erasures.extend(erasures)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMaintenance:
    """Maintenance of one log."""

    log: MemoryLog
    url: str
    command_ttl: int
    clock: Clock

    @contextmanager
    def view(self) -> Iterator[MemoryView]:
        """The store at this moment."""
        with self.log.lock:
            view = MemoryView(self.log.copy())
        yield view

    @contextmanager
    def lock(self) -> Iterator[LockedMemoryView]:
        """The store with all writers waiting."""
        with self.log.lock:
            before = self.log.copy()
            try:
                yield LockedMemoryView(self.log)
            except BaseException:
                self.log.restore(before)
                raise
        self.log.signal.notify()

    def erase_stream(
        self, stream: str, *, reason: str, erased_by: str, tenant: str = ""
    ) -> Erasure:
        """Blank the payloads and claims of a stream."""
        check_text(stream + tenant, "A stream")
        check_text(reason + erased_by, "An erasure")
        key = stream, tenant
        with self.log.lock:
            rows = self.log.streams.get(key)
            if not rows:
                raise StreamNotFound(stream)
            erasure = Erasure(
                stream=stream,
                tenant=tenant,
                version=rows[-1][2],
                events=sum(not is_erased(row[7]) for row in rows),
                erased_at=from_microseconds(self.clock.microseconds()),
                erased_by=erased_by,
                reason=reason,
            )
            self._blank(key)
            if erasure.events:
                self.log.erasures.append(erasure)
            return erasure

    def _blank(self, key: tuple[str, str]) -> None:
        log, (stream, tenant) = self.log, key
        log.snapshots.pop(key, None)
        blanked = {row[0]: row.erased() for row in log.streams[key]}
        log.streams[key] = list(blanked.values())
        log.rows[:] = [blanked.get(row[0], row) for row in log.rows]
        for claim in [c for c, owner in log.claims.items() if (owner, c[0]) == (stream, tenant)]:
            del log.claims[claim]
        for command, (made, record) in log.commands.items():
            if record.stream == stream and command[0] == tenant:
                log.commands[command] = made, replace(record, response=b"")

    def scrub(self) -> None:
        """Nothing to do: memory has no free space that outlives the process."""

    def prune_commands(self, *, dry_run: bool = False) -> PrunedCommands:
        """Forget the commands whose time to live is over."""
        now = self.clock.microseconds()
        with self.log.lock:
            followers, letters = (
                [(each.key, each.value) for each in self.log.records.values() if each.kind == kind]
                for kind in (FOLLOWER, LETTER)
            )
            ranges = needed_ids(followers, letters)
            times = sorted((made for made, _ in self.log.commands.values()), reverse=True)
            before = forgotten_before(
                now, self.command_ttl, ((time, time) for time in times if time <= now)
            )
            old = [key for key, (made, _) in self.log.commands.items() if made < before]
            needed = count_needed((key[1] for key in old), ranges)
            free = [key for key in old if not count_needed([key[1]], ranges)]
            for key in () if dry_run else free:
                del self.log.commands[key]
        return PrunedCommands(
            commands=len(free),
            before=from_microseconds(before) if before else None,
            needed=needed,
        )

    def backup(self, target: Path, *, progress: ReportProgress) -> BackupReport:  # noqa: ARG002
        """Refused: there is no file to copy."""
        raise InvalidArgument(
            f"{self.url} has no file to back up",
            hint=f"Export it instead: eskit store export {target.with_suffix('.jsonl').name}",
        )


def _run_claims(claims: dict[tuple[str, str, str], str], record: EventRow) -> None:
    tenant = record.tenant
    for change in changed_claims(record, lambda index, value: claims.get((tenant, index, value))):
        key = tenant, change.index, change.value
        if change.taken:
            claims[key] = record.stream
        else:
            del claims[key]
