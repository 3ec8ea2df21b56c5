"""Files of named statements: ``-- name: NAME`` stands before each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import LiteralString

_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def read_script(file: Path) -> LiteralString:
    """A script as a whole."""
    return file.read_text(encoding="utf-8")


@cache
def read_statements(file: Path) -> Mapping[str, LiteralString]:
    """The statements of a file by name."""
    _, *parts = _NAMED.split(read_script(file))
    found = zip(parts[::2], parts[1::2], strict=True)
    return {name: statement.strip() for name, statement in found}
