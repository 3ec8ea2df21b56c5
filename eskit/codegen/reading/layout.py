"""How generated code is laid out, so that formatters leave it as it is.

Templates call these for what has to be broken into lines when it is long; as functions they are
several times faster than as macros, and most of a generated module goes through one.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

LINE_LENGTH = 88
"""Generated code fits the shortest line length that formatters use by default."""

_QUOTES = 6
_ESCAPED = '\\"\\"\\"'
_AS_IT_IS = ")  # fmt: skip"


def listed(head: str, items: Sequence[str], tail: str, indent: int) -> str:
    """One line where it fits, else one item on each line with a trailing comma.

    Every formatter keeps the trailing comma. `indent` is the column where the line starts.
    """
    pad = " " * indent
    line = f"{pad}{head}{', '.join(items)}{tail}"
    if len(line) <= LINE_LENGTH:
        return line
    return "\n".join([f"{pad}{head}", *(f"{pad}    {item}," for item in items), f"{pad}{tail}"])


def imported(module: str, found: Sequence[str]) -> str:
    """An import of names from a module."""
    line = f"from {module} import {', '.join(found)}"
    if len(line) <= LINE_LENGTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in found), ")"])


def literal(names: Sequence[str], indent: int) -> str:
    """A type that allows only these texts; `indent` is that of the line it stands on."""
    return listed("_t.Literal[", [f'"{name}"' for name in names], "]", indent).lstrip()


def tuple_of(head: str, items: Sequence[str], tail: str, indent: int) -> str:
    """A tuple with a line for each item; formatters keep a tuple of one on one line."""
    pad = " " * indent
    line = f"{pad}{head}({items[0]},){tail}" if items else f"{pad}{head}(){tail}"
    if len(items) <= 1 and len(line) <= LINE_LENGTH:
        return line
    return "\n".join([f"{pad}{head}(", *(f"{pad}    {item}," for item in items), f"{pad}){tail}"])


def assigned(head: str, name: str, indent: int) -> str:
    """An assignment; a name that does not fit beside its target goes into parentheses.

    Formatters would take these away wherever a project's lines are longer.
    """
    pad = " " * indent
    line = f"{pad}{head}{name}"
    if len(line) <= LINE_LENGTH or len(pad) + 4 + len(name) > LINE_LENGTH:
        return line
    return f"{pad}{head}(\n{pad}    {name}\n{pad}{_AS_IT_IS}"


def union(head: str, types: Sequence[str]) -> str:
    """An alias of one type or another, on one line where it fits.

    Formatters would join the lines of a union wherever a project's lines are longer.
    """
    line = f"{head}{' | '.join(types)}"
    if len(line) <= LINE_LENGTH or len(types) == 1:
        return line if len(line) <= LINE_LENGTH else assigned(head, types[0], 0)
    first, *rest = types
    return "\n".join([f"{head}(", f"    {first}", *(f"    | {kind}" for kind in rest), _AS_IT_IS])


def docstring(text: str, indent: int) -> str:
    """A comment as a docstring: quoted safely, wrapped, its own line breaks kept."""
    text = text.replace("\\", "\\\\").replace('"""', _ESCAPED)
    pad = " " * indent
    room = LINE_LENGTH - indent
    lines = [
        part
        for line in text.splitlines()
        for part in (wrap(line, room, break_long_words=False) if len(line) > room else [line])
    ]
    first = " " if lines[0].startswith('"') else ""
    if len(lines) == 1 and len(lines[0]) + len(first) < room - _QUOTES:
        return f'"""{first}{lines[0]}{_space_behind(lines[0])}"""'
    lines[:1] = wrap(f"{first}{lines[0]}", room - _QUOTES, break_long_words=False)
    if len(lines) == 1:  # a word longer than the line: there is nothing to break
        return f'"""{lines[0]}{_space_behind(lines[0])}"""'
    body = "\n".join([lines[0], *(f"{pad}{line}".rstrip() for line in lines[1:])])
    return f'"""{body}\n{pad}"""'


def _space_behind(line: str) -> str:
    """What keeps a quotation mark at the end apart from those that close."""
    return " " if line.endswith('"') and not line.endswith(_ESCAPED) else ""


def settled(text: str) -> str:
    """`text`, kept from formatters if it has a line that no break makes short enough."""
    too_long = any(len(line) > LINE_LENGTH for line in text.splitlines())
    return f"# fmt: off\n{text}" if too_long else text
