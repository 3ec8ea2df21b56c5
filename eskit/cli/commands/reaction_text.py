"""What commands about reactions show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span, count, duration, timestamp
from eskit.cli.terminal.wrapping import labelled

if TYPE_CHECKING:
    from eskit.messaging.followers import Attempt, FollowerStatus, Reset

_STATE_STYLES = {"failed": "error", "paused": "warning", "running": "ok"}
_HEADING = (
    *("", "state", "position", "head", "lag", "oldest", "in flight", "waiting"),
    *("attempts", "set aside", "holder", "last error"),
)
_NUMBERS = {*_HEADING[2:-1]}


def status_object(status: FollowerStatus) -> dict[str, object]:
    """A reaction's status as --json shows it."""
    return {
        "name": status.name,
        "state": status.state,
        "position": status.position,
        "head": status.head,
        "lag": status.lag,
        "error": status.error or None,
        "trouble": status.trouble or None,
        "updated_at": timestamp(status.updated_at) if status.updated_at else None,
        "oldest_seconds": status.oldest_seconds,
        "attempts": _most_attempts(status),
        "in_flight": [_attempt_object(attempt) for attempt in status.in_flight],
        "waiting": [_attempt_object(attempt) for attempt in status.waiting],
        "set_aside": status.set_aside,
        "skipped": status.skipped,
        "pause": status.pause or None,
        "needed_commands": status.needed,
        "holder": status.holder,
    }


def _attempt_object(attempt: Attempt) -> dict[str, object]:
    since = timestamp(attempt.since) if attempt.since else None
    return {"position": attempt.position, "attempts": attempt.attempts, "since": since}


def _most_attempts(status: FollowerStatus) -> int:
    return max((each.attempts for each in (*status.waiting, *status.in_flight)), default=0)


def format_statuses(
    statuses: Sequence[FollowerStatus], *, detailed: bool = False
) -> Iterator[Line]:
    """A reaction a line, below a heading; without the columns that have nothing to say."""
    if not statuses:
        yield "No reactions in this app"
        return
    rows: list[tuple[Span, ...]] = [
        (
            (status.name, "name"),
            (status.state, _STATE_STYLES.get(status.state, "")),
            f"{status.position:,}" if status.position is not None else "",
            f"{status.head:,}",
            f"{status.lag:,}",
            duration(status.oldest_seconds) if status.lag else "",
            _number(len(status.in_flight)),
            _number(len(status.waiting)),
            _number(_most_attempts(status)),
            _number(status.set_aside),
            str(status.holder or ""),
            _remark(status),
        )
        for status in statuses
    ]
    shown = [column for column in zip(_HEADING, *rows, strict=True) if any(map(_says, column[1:]))]
    right = [number for number, (name, *_) in enumerate(shown) if name in _NUMBERS]
    heading, *lines = zip(*shown, strict=True)
    last = len(heading) - 1 if heading[-1] == _HEADING[-1] else None
    yield from columns([[(name, "dim") for name in heading], *lines], right=right, cut=last)
    for status in statuses:
        if status.needed:
            told = f"  {count(status.needed, 'command')} kept beyond their time to live for it"
            yield [(status.name, "name"), told]
        if detailed:
            for attempt in (*status.in_flight, *status.waiting):
                doing = "in flight since " + timestamp(attempt.since) if attempt.since else "waits"
                tried = f", tried {count(attempt.attempts, 'time')}" if attempt.attempts else ""
                yield f"  {attempt.position:,}  {doing}{tried}"
            if status.trouble and not status.error:  # in the table it may be cut off
                yield from labelled("last error", status.trouble)


def _number(number: int) -> str:
    return f"{number:,}" if number else ""


def _says(cell: Span) -> bool:
    return bool(cell if isinstance(cell, str) else cell[0])


def _remark(status: FollowerStatus) -> Span:
    if status.error:
        return status.error.partition("\n")[0], "error"
    if status.pause:
        return f"paused: {status.pause}"
    return status.trouble.partition("\n")[0], "warning"


def format_failed(failed: Sequence[FollowerStatus]) -> Iterator[Line]:
    """For each reaction that failed what happened, and the commands to run next."""
    for status in failed:
        yield ""
        yield from labelled((status.name, "name"), status.error)
        if status.set_aside:
            yield ["  see which  ", (f"eskit deadletter list {status.name}", "command")]
        elif not status.in_flight:
            reset = f"eskit reaction reset {status.name} --after POSITION|now --dry-run"
            yield ["  go on      ", (reset, "command")]


def reset_object(reset: Reset, *, done: bool) -> dict[str, object]:
    """A reset as --json shows it."""
    return {**asdict(reset), "changed": done}


def describe_reset(reset: Reset) -> str:
    """What a reset does, in a line."""
    before = f"{reset.before:,}" if reset.before is not None else "an unknown place"
    effect = "no event is reacted to again or skipped"
    if reset.again:
        effect = f"{count(reset.again, 'event')} reacted to again"
    elif reset.skipped:
        effect = f"{count(reset.skipped, 'event')} never reacted to"
    line = f"{reset.name} from {before} to {reset.after:,}: {effect}"
    if reset.forgotten:
        line += f"; {count(reset.forgotten, 'command')} forgotten, and carried out twice"
    return line


def format_reset(reset: Reset, *, done: bool) -> Iterator[Line]:
    """The same, and whether it was done."""
    yield describe_reset(reset)
    if not done:
        yield "A dry run: nothing was changed"
