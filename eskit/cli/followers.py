"""Reactions and subscriptions, with the log or in NATS: found, looked at and changed in one way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from eskit.cli.session import Session
from eskit.clock import SYSTEM_CLOCK
from eskit.errors import Diagnostic, MessagingError, NotFound
from eskit.text.suggestions import suggestion

if TYPE_CHECKING:
    from eskit.messaging.follower_status import FollowerKind, FollowerStatus, Reset
    from eskit.messaging.followers_nats import NatsFollowers
    from eskit.messaging.subscription import Subscription
    from eskit.store.eventstore import EventStore

Result = TypeVar("Result")


class Follower(Protocol):
    """A reaction or subscription, wherever it keeps its progress."""

    def status(self) -> FollowerStatus:
        """Look it up."""
        ...

    def pause(self, *, reason: str, by: str) -> None:
        """Keep it where it is until it is resumed."""
        ...

    def resume(self, *, reason: str, by: str) -> None:
        """Let it continue."""
        ...

    def head(self) -> int:
        """The position of the last event that it could handle."""
        ...

    def plan_reset(self, after: int) -> Reset:
        """What a reset would do."""
        ...

    def reset(self, after: int, *, again: bool) -> Reset:
        """Let it resume after another position; with `again` also if that repeats commands."""
        ...


class StoreFollower:
    """A Follower that keeps its progress with the log."""

    def __init__(self, store: EventStore, subscription: Subscription, kind: FollowerKind) -> None:
        self._store, self._subscription, self._kind = store, subscription, kind
        self._name = subscription.name

    def status(self) -> FollowerStatus:
        """See Follower."""
        from eskit.messaging.followers import load_status

        return load_status(self._store, self._subscription, kind=self._kind)

    def pause(self, *, reason: str, by: str) -> None:
        """See Follower."""
        from eskit.messaging.subscriptions_store import pause

        pause(self._store, self._name, reason=reason, by=by, clock=SYSTEM_CLOCK)

    def resume(self, *, reason: str, by: str) -> None:
        """See Follower."""
        from eskit.messaging.subscriptions_store import resume

        resume(self._store, self._name, reason=reason, by=by, clock=SYSTEM_CLOCK)

    def head(self) -> int:
        """See Follower."""
        return self._store.head_position()

    def plan_reset(self, after: int) -> Reset:
        """See Follower."""
        from eskit.messaging.followers import plan_reset

        return plan_reset(self._store, self._subscription, after, kind=self._kind)

    def reset(self, after: int, *, again: bool) -> Reset:
        """See Follower."""
        from eskit.messaging.followers import reset

        return reset(self._store, self._subscription, after, again=again, kind=self._kind)


class NatsFollower:
    """A Follower that keeps its progress in NATS; each call opens a connection of its own."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self._name = session, name

    def status(self) -> FollowerStatus:
        """See Follower."""
        return self._in_nats(lambda followers: followers.load_status(self._name))

    def pause(self, *, reason: str, by: str) -> None:
        """See Follower."""
        self._in_nats(lambda followers: followers.pause(self._name, reason=reason, by=by))

    def resume(self, *, reason: str, by: str) -> None:
        """See Follower."""
        self._in_nats(lambda followers: followers.resume(self._name, reason=reason, by=by))

    def head(self) -> int:
        """See Follower."""
        return self._in_nats(lambda followers: followers.head())

    def plan_reset(self, after: int) -> Reset:
        """See Follower."""
        return self._in_nats(lambda followers: followers.plan_reset(self._name, after))

    def reset(self, after: int, *, again: bool) -> Reset:
        """See Follower."""
        return self._in_nats(lambda followers: followers.reset(self._name, after))

    def _in_nats(self, work: Callable[[NatsFollowers], Awaitable[Result]]) -> Result:
        return _in_nats(self._session, work)


@contextmanager
def find_follower(session: Session, name: str) -> Iterator[Follower]:
    """The follower of that name: of the log, else in NATS; NotFound if there is none."""
    known: list[str] = []
    if _may_have_store(session):
        with session.open_store() as store:
            for subscription, kind in _of_log(session, store):
                if subscription.name == name:
                    yield StoreFollower(store, subscription, kind)
                    return
                known.append(subscription.name)
    if _may_have_nats(session):
        known += (in_nats := _in_nats(session, lambda followers: followers.names()))
        if name in in_nats:
            yield NatsFollower(session, name)
            return
    raise _not_found(name, known)


def load_statuses(
    session: Session, names: Sequence[str]
) -> tuple[list[FollowerStatus], list[Diagnostic]]:
    """The status of followers, or of all, those of the log first; and what was not looked at.

    Raises NotFound for an unknown name, and MessagingError if one may be in NATS, which is away.
    """
    found = _load_of_log(session, names)
    known = [status.name for status in found]
    left = [name for name in names if name not in known]
    problems: list[Diagnostic] = []
    if (left or not names) and _may_have_nats(session):
        try:
            found += _in_nats(session, lambda followers: _load_all(followers, left, known))
        except MessagingError as error:
            if left:
                raise
            problems.append(_not_looked_at(error))
    missing = set(left).difference(status.name for status in found)
    if missing:
        raise _not_found(min(missing), known_names(session))
    return found, problems


def known_names(session: Session) -> list[str]:
    """The followers there are, as far as they can be looked up."""
    statuses, _ = load_statuses(session, ())
    return [status.name for status in statuses]


def _load_of_log(session: Session, names: Sequence[str]) -> list[FollowerStatus]:
    from eskit.messaging.followers import load_status
    from eskit.operations.pruning import prune_commands

    if not _may_have_store(session):
        return []
    with session.open_store() as store:
        followers = [
            (subscription, kind)
            for subscription, kind in _of_log(session, store)
            if not names or subscription.name in names
        ]
        needed = prune_commands(store, dry_run=True).needed if followers else {}
        return [
            load_status(store, subscription, needed=needed, kind=kind)
            for subscription, kind in followers
        ]


async def _load_all(
    followers: NatsFollowers, names: Sequence[str], known: Sequence[str]
) -> list[FollowerStatus]:
    """Those that are asked for, else all but those that are known to follow the log.

    Earlier versions of eskit have kept places of reactions there, too.
    """
    there = await followers.names()
    wanted = [name for name in there if (name in names if names else name not in known)]
    return [await followers.load_status(name) for name in wanted]


def _of_log(session: Session, store: EventStore) -> Iterator[tuple[Subscription, FollowerKind]]:
    """The app's reactions, then the other followers of the log."""
    from eskit.messaging.followers import find_others

    reactions = _reactions(session)
    for subscription in reactions:
        yield subscription, "reaction"
    for subscription in find_others(store, [reaction.name for reaction in reactions]):
        yield subscription, "subscription"


def _reactions(session: Session) -> list[Subscription]:
    if session.find_project() is None:
        return []
    app = session.load_app()
    return [reaction.subscription(app.upcasters) for reaction in app.reactions]


def _may_have_store(session: Session) -> bool:
    """Whether there is a log to look at; one that should be there is opened, and says why not."""
    if session.find_project() is None and not session.names_store():
        if session.find_nats() is None:
            session.project  # noqa: B018  # outside of a project say that first
        return False
    return session.store_exists() or bool(_reactions(session))


def _may_have_nats(session: Session) -> bool:
    if session.find_nats() is not None:
        return True
    return session.find_project() is not None and session.has_used_nats()


def _in_nats(session: Session, work: Callable[[NatsFollowers], Awaitable[Result]]) -> Result:
    from eskit.messaging.followers_nats import NatsFollowers

    return session.in_nats(
        "eskit reaction", lambda connection, names: work(NatsFollowers(connection, names))
    )


def _not_found(name: str, known: Sequence[str]) -> NotFound:
    return NotFound(
        f"No reaction or subscription {name!r}", hint=suggestion(name, known, "They are")
    )


def _not_looked_at(error: MessagingError) -> Diagnostic:
    return Diagnostic(
        severity="warning",
        code="SUBSCRIPTIONS_NOT_LISTED",
        message=f"Subscriptions in NATS were not looked at: {error.message}",
        hint=error.hint,
    )
