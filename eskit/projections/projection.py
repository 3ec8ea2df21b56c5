"""What a projection is: a name and a handler for each event type it cares about.

User modules import this; it loads no database library.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, overload

from google.protobuf.message import Message

from eskit.domain.events import RecordedEvent
from eskit.domain.messages import message_type
from eskit.errors import InvalidArgument
from eskit.projections.database import Db
from eskit.projections.policy import FailurePolicy

AnEvent = TypeVar("AnEvent", bound=Message)
A = TypeVar("A", bound=Message)
B = TypeVar("B", bound=Message)
C = TypeVar("C", bound=Message)
D = TypeVar("D", bound=Message)
Handler: TypeAlias = Callable[[Any, "EventContext[Any]"], None]
"""Called with the decoded event, in its current form, and its context."""
_Of: TypeAlias = Callable[[AnEvent, "EventContext[Db]"], None]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")


class EventContext(Generic[Db]):
    """What a handler gets beside the event.

    `db` is the read model inside the engine's transaction. In SQLite that is a
    `sqlite_utils.Database` whose `execute` goes straight to sqlite3; another read model gives
    what its database has. Leave BEGIN, COMMIT and ROLLBACK to the engine; savepoints are free.
    `event` is the event as recorded: position, stream, version, time, metadata.
    """

    __slots__ = ("_find", "_once", "db", "position")

    db: Db
    position: int
    """The engine's: which event is being handled."""

    def __init__(
        self,
        db: Db,
        find: Callable[[int], RecordedEvent],
        once: Callable[[RecordedEvent, str, Callable[[], object]], None] | None = None,
    ) -> None:
        self.db = db
        self._find = find
        self._once = once

    @property
    def event(self) -> RecordedEvent:
        """The event as recorded; read from the log only when a handler asks for it."""
        return self._find(self.position)

    def once(self, name: str, function: Callable[[], object]) -> None:
        """Call a function once for this event, after the rows are committed.

        Recorded with the rows and called at least once, also after a crash, and tried again when
        it raises; never in a rebuild, diff or dry run. `name` tells it from others of the event.
        The function is one of a module, with arguments by `functools.partial` that JSON can
        keep: raises InvalidArgument otherwise.
        """
        if self._once is not None:
            self._once(self.event, name, function)


class Projection(Generic[Db]):
    """Turns events, of any aggregates, into a read model.

    `migrations` is a folder of ordered ``.sql`` files, relative to the folder of the module that
    makes the projection. Raise `version` when rows made by the old handlers are no longer right:
    the projection then waits for a rebuild instead of mixing the two. `on_failure` says what
    happens when a handler raises: by default it is tried again, then the projection stops. `Db` is
    what the read model gives handlers as `context.db`: that of SQLite unless you say otherwise.

    >>> from bank.gen.account.v1 import account_pb2 as pb
    >>> from eskit import Projection
    >>> from eskit.testing import projecting
    >>> owners = Projection("owners")
    >>> @owners.on(pb.AccountOpenedEvent)
    ... def opened(event, context):
    ...     context.db["owners"].insert({"name": event.owner_name})
    >>> projecting(owners, pb.AccountOpenedEvent(owner_name="Alice")).rows("SELECT * FROM owners")
    [('Alice',)]
    """

    def __init__(
        self,
        name: str,
        *,
        migrations: str | Path | None = None,
        version: int = 1,
        on_failure: FailurePolicy | None = None,
    ) -> None:
        if not _NAME.match(name):
            raise InvalidArgument(
                f"{name!r} is not a projection name",
                hint="Up to 63 lower-case letters, digits, '-' and '_', such as account-balance.",
            )
        if version < 1:
            raise InvalidArgument(
                f"Projection {name!r} has version {version}", hint="Versions count from 1."
            )
        self.name = name
        self.version = version
        self.migrations = None if migrations is None else _absolute(Path(migrations))
        self.on_failure = on_failure or FailurePolicy()
        self.handlers: dict[str, Handler] = {}

    @overload
    def on(self, first: type[A], /) -> Callable[[_Of[A, Db]], _Of[A, Db]]: ...
    @overload
    def on(
        self, first: type[A], second: type[B], /
    ) -> Callable[[_Of[A | B, Db]], _Of[A | B, Db]]: ...
    @overload
    def on(
        self, first: type[A], second: type[B], third: type[C], /
    ) -> Callable[[_Of[A | B | C, Db]], _Of[A | B | C, Db]]: ...
    @overload
    def on(
        self, first: type[A], second: type[B], third: type[C], fourth: type[D], /
    ) -> Callable[[_Of[A | B | C | D, Db]], _Of[A | B | C | D, Db]]: ...
    @overload
    def on(
        self,
        first: type[Message],
        second: type[Message],
        third: type[Message],
        fourth: type[Message],
        fifth: type[Message],
        /,
        *more: type[Message],
    ) -> Callable[[Handler], Handler]: ...
    def on(self, *events: type[Message]) -> Callable[[Handler], Handler]:
        """Declare the handler of one or more event types; each type has one handler.

        The decorated function stays as it is, so that tests can call it. Its event is typed by
        the classes named here: ``A | B`` for ``@projection.on(A, B)``, up to four.
        """
        if not events:
            raise InvalidArgument(
                f"@on in projection {self.name!r} needs an event type",
                hint="Name the event classes it handles: @projection.on(MoneyDepositedEvent).",
            )

        def declare(handler: Handler) -> Handler:
            for event in events:
                self._add(message_type(event), handler)
            return handler

        return declare

    def __repr__(self) -> str:
        return f"Projection({self.name!r})"

    def _add(self, event_type: str, handler: Handler) -> None:
        if inspect.iscoroutinefunction(handler):
            raise InvalidArgument(
                f"The handler of {event_type} in projection {self.name!r} is a coroutine function",
                hint="Write it with def: projections run in a thread of their own.",
            )
        if event_type in self.handlers:
            raise InvalidArgument(
                f"Projection {self.name!r} has two handlers for {event_type}",
                hint="Keep one handler for each event type; it may call several functions.",
            )
        self.handlers[event_type] = handler


def _absolute(folder: Path) -> Path:
    return folder if folder.is_absolute() else _caller_folder() / folder


def _caller_folder() -> Path:
    """The folder of the module that is making a projection; the current one in a console."""
    frame = inspect.currentframe()
    # Projection[PostgresDatabase](…) is called by the module typing.
    while frame is not None and frame.f_globals.get("__name__") in {__name__, "typing"}:
        frame = frame.f_back
    file = frame.f_globals.get("__file__") if frame is not None else None
    return Path(file).resolve().parent if file else Path.cwd()
