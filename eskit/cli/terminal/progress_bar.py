"""A bar on the terminal for long work: how much of it is done, how fast, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from eskit.cli.terminal.text import plain

if TYPE_CHECKING:
    from eskit.cli.terminal.progress import ProgressReporter


@contextmanager
def drawn_on(console: Console) -> Iterator[ProgressReporter]:
    """Draw a bar for each label that is reported, until the block ends; nothing of it stays."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Amount(),
        _Speed(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def report(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(plain(label), total=total or None)
            bar.update(tasks[label], completed=done, total=total or None)

        yield report


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(format_amount(task.completed, task.total))


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(format_speed(task.finished_speed or task.speed), style="dim")


def format_amount(done: float, total: float | None) -> str:
    """How much of how much, such as ``64,000/128,400``; without the total while it is unknown."""
    return f"{done:,.0f}/{total:,.0f}" if total else f"{done:,.0f}"


def format_speed(speed: float | None) -> str:
    """How much a second, such as ``41,000/s``; empty until it was measured."""
    return "" if speed is None else f"{speed:,.0f}/s"
