"""Moving a store into another one, of whichever kind, while it is in use.

The target gets the id of the source when the copy begins, and a record that says that it is not
finished: it refuses appends. Each batch is one transaction, and the next one begins behind the last
event that the target has, so a copy that was killed resumes. To finish, the source gets a record
that closes it: it refuses appends, the rest of it is copied, and the record of the target is
dropped, which opens it. Both records name one attempt. Giving a copy up marks the target first and
then opens the source, so that never both are open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from shlex import quote
from uuid import uuid4

from eskit.domain.events import EventRow
from eskit.domain.time import from_microseconds
from eskit.errors import (
    EskitError,
    InvalidArgument,
    ProjectError,
    StoreError,
    StoreUnavailable,
)
from eskit.operations.log_copy import LogCopy
from eskit.sqlite.url import absolute_url, without_secrets
from eskit.store.copies import CopyState
from eskit.store.corruption import check_log
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.store.port import View
from eskit.store.records import Checkpoint, CommandRow, Snapshot
from eskit.store.reports import Progress, ReportProgress, no_progress

_ALL = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """What is in the target now. `copied` events of it were copied by this call.

    `sha256` is of the whole log, in the source and in the target alike. With `finished` the target
    is open and the source read-only.
    """

    source: str
    target: str
    store_id: str
    events: int
    copied: int
    head: int
    sha256: str
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortReport:
    """A copy that was given up; `opened` says that the source was read-only until then."""

    source: str
    target: str
    opened: bool


def copy_store(
    source_url: str,
    target_url: str,
    *,
    finish: bool = False,
    progress: ReportProgress = no_progress,
) -> CopyReport:
    """Copy a store into another one up to its last event, and compare the two; resumes.

    The target is made, or holds nothing, or is a copy of the same store that was not finished. It
    refuses appends. With `finish` the source becomes read-only, the rest of it is copied and
    compared, with the places of followers, and the target takes its place, under its id. Repeated,
    that finishes what was interrupted. Raises TARGET_EXISTS, InvalidArgument for a store that is
    its own target, StoreDamaged for a damaged source, and StoreUnavailable.
    """
    with _opened(source_url) as source:
        _refuse_unfinished(source)
        with source.view() as view:
            check_log(view)
        with _opened(target_url, create=True) as target:
            state = _begin(source, target)
            if state is None:
                return _finished_before(source, target, progress)
            log = LogCopy(source, target, state, progress)
            log.catch_up()
            log.compare()
            if finish:
                _finish(source, target, log)
            return _report(source, target, log, finished=finish)


def abort_copy(source_url: str, target_url: str, *, lost: bool = False) -> AbortReport:
    """Give a copy up: its source takes appends again, and its target never will.

    Refused once the target is open: what it holds by then is not in the source. `lost` says that
    the target is gone for good and was never used, where it cannot be opened.
    """
    with _opened(source_url) as source:
        _refuse_unfinished(source)
        state = source.find_copy()
        with _asked(target_url, lost=lost) as target:
            if target is not None:
                _mark_aborted(source, target, state)
        if state is not None:
            with source.view(exclusive=True, copying=True) as locked:
                if source.find_copy() == state:
                    locked.drop([state.record(_now(source))])
        shown = without_secrets(target_url)
        return AbortReport(source=source.url, target=shown, opened=state is not None)


def _begin(source: EventStore, target: EventStore) -> CopyState | None:
    """Mark the target as a copy of the source, if it is not; None if that was finished before."""
    moved = source.find_copy()
    with target.view(exclusive=True, copying=True) as locked:
        found = target.find_copy()
        if found is None and moved is not None and target.store_id == source.store_id:
            return None
        if found is None:
            _check_can_become(source, target, locked)
            locked.adopt(source.store_id)
        elif found.role == "source":
            raise _exists(target, found.text)
        elif target.store_id != source.store_id:
            raise _exists(target, f"is a copy of another store, {found.other}")
        if moved is not None and (found is None or found.attempt != moved.attempt):
            raise moved.refusal()
        if found is not None and found.role == "target":
            return found
        state = CopyState(
            role="target",
            attempt=str(uuid4()),
            url=_absolute(target),
            other=_absolute(source),
            unscrubbed=found is not None and found.unscrubbed,
        )
        locked.put([state.record(_now(target))])
        return state


def _check_can_become(source: EventStore, target: EventStore, view: View) -> None:
    if target.store_id == source.store_id:
        raise InvalidArgument(
            f"{target.url} is {source.url} itself, or a copy of it that is in use",
            hint="Name another store as the target.",
        )
    if view.head() or any(view.rows(Checkpoint)) or any(view.rows(CommandRow)):
        raise _exists(target, f"is not empty: it has {view.count(EventRow):,} events")


def _exists(target: EventStore, what: str) -> ProjectError:
    return ProjectError(
        f"{target.url} {what}",
        code="TARGET_EXISTS",
        hint="Copy into a new store: name one that does not exist.",
    )


def _refuse_unfinished(source: EventStore) -> None:
    """A copy that was not finished is no source: it may lack events."""
    found = source.find_copy()
    if found is not None and found.role != "source":
        raise found.refusal()


def _finish(source: EventStore, target: EventStore, log: LogCopy) -> None:
    log.scrub()
    log.catch_up()  # while it finishes, both stores refuse appends: leave it little
    _close(source, log)
    with _read_only(source):
        log.catch_up()
        log.compare()
        log.copy_what_is_beside()
        log.scrub()
        log.check_counts()
        log.open_target()
    _copy_snapshots(source, target, log.progress)


def _close(source: EventStore, log: LogCopy) -> None:
    """Make the source read-only; what is being appended is in the log when this returns."""
    mine = log.state
    log.check_turn()
    with source.view(exclusive=True, copying=True) as locked:
        found = source.find_copy()
        if found is None:
            closed = CopyState(role="source", attempt=mine.attempt, url=mine.other, other=mine.url)
            locked.put([closed.record(_now(source))])
        elif found.attempt != mine.attempt:
            raise found.refusal()


@contextmanager
def _read_only(source: EventStore) -> Iterator[None]:
    """Say in the hint of every error that the source is read-only now, and for how long."""
    try:
        yield
    except EskitError as error:
        left = f"{source.url} is read-only until you run this again, or with --abort."
        error.hint = f"{error.hint} {left}" if error.hint else f"Run this again: {left}"
        raise


def _copy_snapshots(source: EventStore, target: EventStore, progress: ReportProgress) -> None:
    """Copy snapshots into a store that is in use already: without them it only loads slower."""
    with source.view() as view:
        total = view.count(Snapshot)
        for number, snapshot in enumerate(view.rows(Snapshot), start=1):
            if snapshot.readable:
                target.snapshots.save(snapshot, keep=_ALL)
            progress(Progress(name="snapshots", done=number, total=total))


def _finished_before(
    source: EventStore, target: EventStore, progress: ReportProgress
) -> CopyReport:
    _copy_snapshots(source, target, progress)
    with target.view() as view:
        return CopyReport(
            source=source.url,
            target=target.url,
            store_id=source.store_id,
            events=view.count(EventRow),
            copied=0,
            head=view.head(),
            sha256="",
            finished=True,
        )


def _report(source: EventStore, target: EventStore, log: LogCopy, *, finished: bool) -> CopyReport:
    return CopyReport(
        source=source.url,
        target=target.url,
        store_id=source.store_id,
        events=log.compared,
        copied=log.copied,
        head=log.head,
        sha256=log.sha256,
        finished=finished,
    )


def _mark_aborted(source: EventStore, target: EventStore, moved: CopyState | None) -> None:
    """See to it that the target is never opened; refused if it is."""
    with target.view(exclusive=True, copying=True) as locked:
        found = target.find_copy()
        if target.store_id != source.store_id or (found and found.role == "source"):
            raise InvalidArgument(
                f"{target.url} is no copy of {source.url}", hint="Name the two stores of the copy."
            )
        if found is None:
            raise StoreError(
                f"{target.url} has taken the place of {source.url}: the copy is finished",
                hint=f"Go back by a copy: eskit store copy {quote(_absolute(target))} NEW --finish",
            )
        if moved is not None and found.attempt != moved.attempt:
            raise moved.refusal()
        locked.put([replace(found, role="aborted").record(_now(target))])


@contextmanager
def _asked(url: str, *, lost: bool) -> Iterator[EventStore | None]:
    """The target of a copy that is given up; None where it cannot be opened and is `lost`."""
    with ExitStack() as opened:
        target = None
        try:
            target = opened.enter_context(_opened(url))
        except StoreUnavailable as error:
            if not lost:
                shown = without_secrets(url)
                raise StoreUnavailable(
                    f"It is not known whether {shown} has taken appends: {error.message}",
                    hint="Make it available. If it is gone and was never used, add --yes.",
                ) from error
        yield target


@contextmanager
def _opened(url: str, *, create: bool = False) -> Iterator[EventStore]:
    """A store of the copy; the hint about one of another schema says which store it is."""
    try:
        store = open_store(url, create=create)
    except StoreError as error:
        if error.code == "SCHEMA_OUTDATED":
            error.hint = f"Run: eskit store migrate --store {quote(without_secrets(url))}"
        raise
    with store:
        yield store


def _absolute(store: EventStore) -> str:
    """The URL as any process reaches the store by it, without secrets."""
    return absolute_url(store.url, Path.cwd())


def _now(store: EventStore) -> datetime:
    return from_microseconds(store.clock.microseconds())
