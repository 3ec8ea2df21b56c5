"""Lines on a stream: styled on a terminal, plain elsewhere.

rich is loaded only for a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TextIO

from eskit.cli.terminal.text import Line, plain, spans
from eskit.cli.terminal.wrapping import Fitted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES: Mapping[str, str] = {
    "name": "bold",
    "dim": "dim",
    "key": "cyan",
    "old": "dim",
    "new": "green",
    "ok": "green",
    "warning": "yellow",
    "error": "bold red",
    "command": "bold",
    "typed": "bold",
    "aggregate0": "bold",
    "aggregate1": "bold blue",
    "aggregate2": "bold magenta",
    "aggregate3": "bold yellow",
    "aggregate4": "bold green",
}
"""What the styles in lines look like; no style says anything that a word does not."""


def print_lines(lines: Iterable[Line], stream: TextIO, *, cut: bool = False) -> None:
    """Print lines: styled, and wrapped or on wish cut, on a terminal; plain elsewhere."""
    if not stream.isatty():
        stream.writelines(plain(line) + "\n" for line in lines)
        stream.flush()
        return
    console = console_on(stream)
    for line in lines:
        for part in fitted(line, console.width):
            console.print(styled(part, console, cut=cut), soft_wrap=True, highlight=False)


def fitted(line: Line, limit: int) -> list[Line]:
    """The line in `limit` columns, where it knows how."""
    return line.fitted(limit) if isinstance(line, Fitted) else [line]


def styled(line: Line, console: Console, *, cut: bool, end: str = "") -> Text:
    """The line as rich shows it on `console`; with `cut` no wider than it."""
    from rich.text import Text

    text = Text(end=end)
    for part, style in spans(line):
        text.append(part, STYLES.get(style, style) or None)
    text.rstrip()
    if cut:
        text.truncate(console.width, overflow="ellipsis")
    return text


def end_line_of_ctrl_c() -> None:
    """Begin a new line where a terminal has shown ``^C``; also from within a signal handler."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\n")


def console_on(stream: TextIO) -> Console:
    """A console on `stream`; without colours if the environment says so."""
    from rich.console import Console

    plain_terminal = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(
        file=stream,
        color_system=None if plain_terminal else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
