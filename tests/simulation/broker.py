"""A broker that loses and doubles acknowledgements, and the publisher that reaches it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from eskit import RecordedEvent
from eskit.errors import BrokerUnavailable
from eskit.messaging.publisher import EventUnpublishable, LastEvent, PublishedLog
from eskit.nats.publishing import PublishInterrupted
from tests.simulation.ports import Process
from tests.simulation.wrong import Wrong

SOURCE = "eskit://bank/simulated"


@dataclass(slots=True)
class Broker:
    """What a broker has, whoever is connected.

    `mishaps` are what befalls the next publishes: ``lost`` (all is stored, the acknowledgement is
    not), ``part`` (some of it is stored), ``late`` (it arrives when somebody else is at it),
    ``gone`` (nothing arrives). `published` has all that was ever stored, `kept` what has not aged
    out. It never takes the events at the positions in `refused`; somebody has decided to pass those
    in `skipped` over.
    """

    published: list[tuple[int, str]] = field(default_factory=list)
    kept: list[tuple[int, str]] = field(default_factory=list)
    mishaps: list[str] = field(default_factory=list)
    late: tuple[Sequence[RecordedEvent], int] | None = None
    aged: bool = False
    refused: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)

    @property
    def sequence(self) -> int:
        """How many messages it ever stored."""
        return len(self.published)

    @property
    def next_position(self) -> int:
        """The first that was not published, and is not under way."""
        under_way = [event.global_position for event in self.late[0]] if self.late else []
        return max([*(position for position, _ in self.published), *under_way], default=0) + 1

    def store(self, events: Sequence[RecordedEvent], after: int) -> bool:
        """Store what is published behind a sequence, if nothing else is."""
        if self.sequence != after:
            return False
        rows = [(event.global_position, event.event_id) for event in events]
        self.published += rows
        self.kept += rows
        return True

    def deliver_late(self) -> None:
        """What was under way for long arrives."""
        if self.late is not None:
            (events, after), self.late = self.late, None
            self.store(events, after)

    def age_out(self) -> None:
        """All that it keeps is too old to be kept on."""
        self.kept.clear()
        self.aged = True

    def check(self, log: Sequence[tuple[int, str]]) -> None:
        """The log, given by positions and ids, was published in order, without a gap, and once.

        What has aged out may be published again, where nobody knows that it ever was.
        """
        passed = self.refused & self.skipped
        wanted = [row for row in log if row[0] not in passed]
        if not self.aged and self.published != wanted[: len(self.published)]:
            raise Wrong(f"The log was published as {[at for at, _ in self.published]}")
        seen = 0
        for position, event_id in self.published:
            gap = set(range(seen + 1, position)) - passed
            if gap or position in passed or log[position - 1] != (position, event_id):
                raise Wrong(f"{position} was published behind {seen}, without {sorted(passed)}")
            seen = max(seen, position)


class SimPublisher:
    """See `eskit.messaging.publisher.Publisher`."""

    source = SOURCE

    def __init__(self, broker: Broker, process: Process) -> None:
        self._broker = broker
        self._process = process

    async def open(self) -> PublishedLog:
        """What the broker has."""
        self._process.touch("broker")
        broker = self._broker
        last = None
        if broker.kept:
            position, event_id = broker.kept[-1]
            last = LastEvent(source=SOURCE, position=position, event_id=event_id)
        return PublishedLog(name="SIMULATED", created="once", sequence=broker.sequence, last=last)

    async def publish(self, events: Sequence[RecordedEvent], *, after_sequence: int) -> int:
        """Store the events, or as many as the mishap of this time lets through."""
        self._process.touch("broker")
        broker = self._broker
        broker.deliver_late()
        takes = list(takewhile(lambda event: event.global_position not in broker.refused, events))
        if not takes:
            raise EventUnpublishable(events[0].global_position, events[0].stream, "too large")
        mishap = broker.mishaps.pop(0) if broker.mishaps else ""
        if mishap == "gone":
            raise BrokerUnavailable("The broker went away")
        if mishap == "late":
            broker.late = takes, after_sequence
            raise BrokerUnavailable("The broker went away while publishing")
        some = takes[: len(takes) // 2] if mishap == "part" else takes
        with self._process.committing():
            if not broker.store(some, after_sequence):
                raise PublishInterrupted("Somebody else has published")
        if mishap:
            raise PublishInterrupted("The broker did not acknowledge in time")
        return broker.sequence

    async def find_shared(self, holds: Callable[[int, str], Awaitable[bool]]) -> int:
        """Nobody publishes another log here."""
        raise NotImplementedError

    async def rewind(self, position: int) -> None:
        """Nobody publishes another log here."""
        raise NotImplementedError

    async def discard(self) -> None:
        """Nobody publishes the log again here."""
        raise NotImplementedError

    async def check(self) -> None:
        """It is what it was, or not there."""
        self._process.touch("broker")
