"""The ports of one simulated process: they can be away, and the process can die at any commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

from eskit.errors import BrokerUnavailable, ReadModelUnavailable, StoreUnavailable

When = Literal["before", "after"]


_AWAY = {
    "store": StoreUnavailable,
    "read model": ReadModelUnavailable,
    "broker": BrokerUnavailable,
}


class Crash(BaseException):
    """The process is gone: nothing that it still does has any effect."""


class Process:
    """A process of this world.

    `on_point` is called wherever another process may do something in between; it is told whether
    that may be a write to the read model. `on_swapped` is called when the rows of a projection
    were made anew. The process dies before or after its `crash_at`-th commit from now.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.on_point: Callable[[bool], None] = lambda _free: None
        self.on_swapped: Callable[[str], None] = lambda _name: None
        self.away: dict[str, int] = {}
        self.crash_at: tuple[int, When] | None = None
        self.commits = 0
        self.in_transaction = 0

    def arm(self, commit: int, when: When) -> None:
        """Die before or after that commit, counted from 1."""
        self.commits, self.crash_at = 0, (commit, when)

    def disarm(self) -> None:
        """Live on."""
        self.crash_at = None

    def touch(self, part: str) -> None:
        """Use a store or a read model: it may be away, and others may go on meanwhile."""
        if self.dead:
            raise Crash
        if not self.in_transaction or part == "store":
            self.on_point(not self.in_transaction)
            if self.dead:
                raise Crash
        if self.away.get(part, 0) > 0:
            self.away[part] -= 1
            raise _AWAY[part](f"The {part} is away")

    def check(self) -> None:
        """Go no further if the process is gone."""
        if self.dead:
            raise Crash

    def die(self) -> None:
        """End here."""
        self.dead = True
        raise Crash

    @contextmanager
    def committing(self) -> Iterator[None]:
        """A block whose end makes what it did last."""
        self.commits += 1
        at = self.commits
        if self.crash_at == (at, "before"):
            self.die()
        yield
        if self.crash_at == (at, "after"):
            self.die()


class SimStore:
    """An EventStore as one process sees it."""

    def __init__(self, inner: Any, process: Process) -> None:
        self._inner = inner
        self._process = process

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name == "close":
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._process.touch("store")
            return found(*args, **kwargs)

        self.__dict__[name] = call  # so that this is not asked again
        return call

    # A property would be asked for by `isinstance` checks of protocols as well.
    @property
    def url(self) -> str:
        return str(self._inner.url)

    @property
    def store_id(self) -> str:
        return str(self._inner.store_id)

    def for_tenant(self, tenant: str) -> SimStore:
        """The same process's store of a tenant."""
        return SimStore(self._inner.for_tenant(tenant), self._process)

    def append(self, *args: Any, **kwargs: Any) -> Any:
        return self._commit("append", *args, **kwargs)

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """As if it were committed at once: there is no other thread in this world."""
        submitted = Future[Any]()
        try:
            submitted.set_result(self.append(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            submitted.set_exception(error)
        return submitted

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._commit("save_checkpoint", *args, **kwargs)

    def save_record(self, *args: Any, **kwargs: Any) -> Any:
        return self._commit("save_record", *args, **kwargs)

    def delete_record(self, *args: Any, **kwargs: Any) -> None:
        self._commit("delete_record", *args, **kwargs)

    def _commit(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self._process.touch("store")
        with self._process.committing():
            return getattr(self._inner, method)(*args, **kwargs)


class SimReadModels:
    """The ReadModels as one process sees them.

    With `keep` a model that is closed is given to whoever opens one next: to open a database takes
    a quarter of the time.
    """

    def __init__(self, inner: Any, process: Process, *, keep: bool) -> None:
        self._inner = inner
        self._process = process
        self._idle: list[Any] | None = [] if keep else None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in {"close", "lock"}:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._process.touch("read model")
            return found(*args, **kwargs)

        self.__dict__[name] = call  # so that this is not asked again
        return call

    def open(self, **kwargs: Any) -> SimReadModel:
        """One whose every commit the process may die at."""
        self._process.touch("read model")
        inner = self._idle.pop() if self._idle else self._inner.open(**kwargs)
        return SimReadModel(inner, self._process, self._idle)

    def close(self) -> None:
        """Close those that are kept as well."""
        while self._idle:
            self._idle.pop().close()
        self._idle = None
        self._inner.close()


class SimReadModel:
    """A read model, live or built aside, as one process sees it."""

    def __init__(self, inner: Any, process: Process, idle: list[Any] | None = None) -> None:
        self._inner = inner
        self._process = process
        self._idle = idle
        self._dropped = ""

    def close(self) -> None:
        """Close it, or keep it for the next."""
        if self._idle is None or self._process.dead:
            self._inner.close()
        else:
            self._idle.append(self._inner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in {"close", "is_transient"}:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._process.touch("read model")
            return found(*args, **kwargs)

        self.__dict__[name] = call  # so that this is not asked again
        return call

    def open_shadow(self, *args: Any, **kwargs: Any) -> SimReadModel:
        self._process.touch("read model")
        return SimReadModel(self._inner.open_shadow(*args, **kwargs), self._process)

    def transaction(self) -> AbstractContextManager[None]:
        return self._changing(self._inner.transaction())

    def drop(self, name: str) -> None:
        self._process.touch("read model")
        self._inner.drop(name)
        self._dropped = name

    @contextmanager
    def swapping(self, name: str) -> Iterator[None]:
        with self._changing(self._inner.swapping(name)):
            self._dropped = name
            yield

    @contextmanager
    def _changing(self, inner: Any) -> Iterator[Any]:
        process = self._process
        process.touch("read model")
        outermost = not process.in_transaction
        die_after = False
        if outermost:
            self._dropped = ""
        with inner as made:
            process.in_transaction += 1
            try:
                yield made
                if process.dead:
                    raise Crash
                if outermost:
                    process.commits += 1
                    if process.crash_at == (process.commits, "before"):
                        process.die()
                    die_after = process.crash_at == (process.commits, "after")
            finally:
                process.in_transaction -= 1
        if outermost and self._dropped:
            process.on_swapped(self._dropped)
        if die_after:
            process.die()
        process.touch("read model after commit")
