"""Commands in hints: kept apart from the words around them, and completed with what was chosen.

A hint that is pasted must act on the store and the folder that the command it came from was given
of, not on the project's own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.wrapping import Hanging

_OF_TENANTS = re.compile(
    r"eskit (?:stream (?:list|read|erase)|snapshot (?:list|create)|claim list|replay|tail)\b"
)
"""The commands that take the tenant of what they are about."""
_OF_FOLDERS = frozenset({"new", "gen"})
"""The commands to which only the folder matters."""


@dataclass(frozen=True, kw_only=True)
class Hints:
    """The options a command was given that its hints have to repeat, as words for a shell."""

    commands: Sequence[str] = ()
    folder: Sequence[str] = ()
    stores: Sequence[str] = ()
    tenants: Sequence[str] = ()

    def of_tenants(self, names: Sequence[str]) -> Hints:
        """The same for a command that is about some tenants."""
        return replace(self, tenants=[word for name in names for word in ("--tenant", name)])

    def complete(self, hint: str) -> str:
        """The hint with the options in each of its commands."""
        return "".join(text for text, _ in self._parts(hint))

    def shown(self, line: Line) -> Line:
        """A line with the commands in its hints completed, and styled as commands."""
        if isinstance(line, str) or not any(_is_about_commands(part) for part in line):
            return line
        spans = [shown for part in line for shown in self._shown(part)]
        return Hanging(spans, indent=line.indent) if isinstance(line, Hanging) else spans

    def _shown(self, part: Span) -> Iterator[Span]:
        if isinstance(part, str) or not _is_about_commands(part):
            yield part
        elif part[1] == "command":
            yield self.complete(part[0]), "command"
        else:
            yield from self._parts(part[0])

    def _parts(self, hint: str) -> Iterator[tuple[str, str]]:
        end = 0
        for found in self._command.finditer(hint):
            yield hint[end : found.start()], ""
            yield self._completed(found[0], found["name"]), "command"
            end = found.end()
        yield hint[end:], ""

    @cached_property
    def _command(self) -> re.Pattern[str]:
        names = "|".join(map(re.escape, self.commands)) or r"(?!)"
        end = r"[.,;:)]+(?:\s|$)| or | and |\s*$"
        return re.compile(rf"\beskit (?P<name>{names})\b.*?(?={end})", re.MULTILINE)

    def _completed(self, command: str, name: str) -> str:
        if "--help" in command:
            return command
        if self.tenants and "--tenant" not in command and (found := _OF_TENANTS.match(command)):
            command = f"{found[0]} {shlex.join(self.tenants)}{command[found.end() :]}"
        given = [*self.folder, *(() if name in _OF_FOLDERS else self.stores)]
        return f"eskit {shlex.join(given)}{command.removeprefix('eskit')}" if given else command


def without_login(url: str) -> str:
    """The URL as it may be shown: who pastes it writes the user and the password again."""
    if not ("@" in url or "password=" in url):
        return url
    from eskit.project.settings import without_secrets

    return without_secrets(url)


def _is_about_commands(part: Span) -> bool:
    return not isinstance(part, str) and part[1] in {"command", "hint"}
