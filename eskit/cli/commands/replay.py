"""``eskit replay``: an aggregate's history, event by event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import dropwhile, islice, takewhile
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.stream import (
    Tenant,
    format_stream,
    load_open_types,
    payload_reader,
    refuse_unknown,
)
from eskit.cli.groups import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.events import format_heading
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span, width
from eskit.cli.terminal.times import ClockOption, Times, TimeStyle, parse_moment
from eskit.cli.terminal.values import format_value, is_unset, leaves
from eskit.domain.streams import category_of, check_stream
from eskit.reports.events import stateless_object, step_object
from eskit.schema.pools import descriptor_of
from eskit.text.quantities import count

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from eskit.store.replay import ReplayStep, StateChange

app = make_app()


@app.command(
    **examples(
        "eskit replay Account-acc-001",
        "eskit replay Account-acc-001 --to-version 3",
        "eskit replay Account-acc-001 --to-version 3 --backward",
        "eskit replay Account-acc-001 --after 100000 --limit 20",
        "eskit replay Account-acc-001 --no-state",
        "eskit replay Account-acc-001 --at 2026-05-01T12:00:00Z --json",
        streaming=True,
    )
)
def replay(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="As in Account-acc-001.")],
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only versions above N.")] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Maximum number of rows.")
    ] = None,
    to_version: Annotated[
        int | None, typer.Option("--to-version", metavar="N", min=1, help="Stop after version N.")
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="TIME", help="Stop at a time (2026-05-01T12:00Z) or an age (5m).")
    ] = "",
    backward: Annotated[
        bool, typer.Option("--backward", help="Newest first, from the last version shown back.")
    ] = False,
    clock: ClockOption = TimeStyle.DELTA,
    tenant: Tenant = "",
    no_state: Annotated[
        bool, typer.Option("--no-state", help="Only the events: needs no application.")
    ] = False,
) -> None:
    """Show an aggregate's state after each of its events, and what each changed.

    eskit folds the events with the application's own code. With --json one object per line. A TIME
    without an offset is local; --clock shows the times of the events.
    """
    from eskit.store.replay import replay as replay_stream

    session = session_of(context)
    until = parse_moment(at) if at else None
    aggregate = category_of(check_stream(stream))
    times = Times(clock=clock, backward=backward)
    if no_state:
        show_events(
            session,
            stream,
            times,
            after=after,
            limit=limit,
            to_version=to_version,
            at=until,
            tenant=tenant,
        )
        return
    loaded = session.load_app()
    with session.open_store() as store:
        version = store.for_tenant(tenant).stream_version(stream)
        if version == 0:
            refuse_unknown(store, stream, tenant)
        _tell_of_end(session, stream, version, to_version)
        kind = loaded.aggregate(aggregate)
        load_open_types(
            session,
            kind.__aggregate__.state,
            *(method.event for method in kind.__aggregate__.events),
        )
        steps = replay_stream(
            store.for_tenant(tenant),
            kind,
            stream,
            upcasters=loaded.upcasters,
            after=after,
            limit=limit,
            to_version=to_version,
            at=until,
            backward=backward,
        )
        if session.output.as_json:
            for step in steps:
                session.output.record(step_object(step), ())
        else:
            descriptor = descriptor_of(kind.__aggregate__.state)
            heading: Line = [(stream, "name"), f" · {count(version, 'event')} · {aggregate}"]
            session.output.show(
                format_replay(heading, steps, descriptor, times, after=after, total=version)
            )


def _tell_of_end(session: Session, stream: str, version: int, to_version: int | None) -> None:
    if to_version is not None and to_version > version:
        session.output.note(f"No version {to_version:,} yet: {stream} ends at version {version:,}")


def show_events(
    session: Session,
    stream: str,
    times: Times,
    *,
    after: int,
    limit: int | None,
    to_version: int | None,
    at: datetime | None,
    tenant: str,
) -> None:
    """Show the events alone, as the store knows them."""
    with session.open_store() as store:
        version = store.for_tenant(tenant).stream_version(stream)
        if version == 0:
            refuse_unknown(store, stream, tenant)
        _tell_of_end(session, stream, version, to_version)
        payload_of = payload_reader(session, store)
        before = None if to_version is None else to_version + 1
        backward = times.backward
        events = store.for_tenant(tenant).read_stream(
            stream, after=after, before=before, backward=backward
        )
        if at is not None:
            cut = dropwhile if backward else takewhile
            events = cut(lambda event: (event.recorded_at > at) is backward, events)
        events = islice(events, limit)
        if session.output.as_json:
            for event in events:
                session.output.record(stateless_object(event, payload_of(event)), ())
        else:
            session.output.show(format_stream(stream, version, events, payload_of, times))


def format_replay(
    heading: Line,
    steps: Iterator[ReplayStep],
    descriptor: Descriptor,
    times: Times,
    *,
    after: int,
    total: int,
) -> Iterator[Line]:
    """The heading, a block for each event with what it changed, and the newest state."""
    yield heading
    newest: ReplayStep | None = None
    for step in steps:
        yield ""
        yield format_heading(step.event, times.of(step.event.recorded_at))
        if step.event.erased:
            yield "       erased"
        yield from format_changes(step.changes, descriptor)
        if newest is None or step.version > newest.version:
            newest = step
    yield ""
    if newest is None:
        yield f"No event above version {after:,}" if after else "Nothing had happened yet"
        return
    of = "" if newest.version == total else f" of {total:,}"
    yield [(f"State at version {newest.version:,}{of}", "name")]
    yield from format_state(newest.state, descriptor)


def format_changes(changes: list[StateChange], descriptor: Descriptor) -> Iterator[Line]:
    """One change a line: path, old value unless it was unset, new value."""
    longest = min(max((len(field.name) for field in descriptor.fields), default=0), _LONGEST)
    for change in changes:
        line: list[Span] = ["       ", (change.path.ljust(longest), "key"), "  "]
        if not (change.added or is_unset(change.old, change.field)):
            line += [(format_value(change.old, change.field), "old"), " "]
        new = "nothing" if change.removed else format_value(change.new, change.field)
        yield [*line, "→ ", (new, "new")]


def format_state(state: dict[str, object], descriptor: Descriptor) -> Iterator[Line]:
    """The fields that are set, two a line where they are short."""
    cells = list(leaves(state, descriptor))
    widest = max((width(name) + width(value) for name, value in cells), default=0)
    per_line = 2 if widest <= _HALF else 1
    yield from columns(
        [
            [
                span
                for name, value in cells[at : at + per_line]
                for span in ("", (name, "key"), value, "")
            ]
            for at in range(0, len(cells), per_line)
        ]
    )


_LONGEST = 24
"""Longer paths than this do not widen the column."""
_HALF = 30
"""The widest field of which two fit on a line of 80 columns."""
