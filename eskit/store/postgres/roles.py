"""The script that gives three roles what each of them needs of a store, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from eskit.errors import InvalidArgument

_SCRIPT = Path(__file__).with_name("roles.sql")
_PLACE = re.compile(r":'(\w+)'")
_LONGEST_NAME = 63


class Roles(NamedTuple):
    """The names of the roles of a store: see roles.sql."""

    owner: str
    writer: str
    reader: str


def roles_script(schema: str, roles: Roles) -> str:
    """The script for the store in a schema; InvalidArgument for names that no role can have."""
    if len(set(roles)) < len(roles):
        raise InvalidArgument(
            "Owner, writer and reader are three roles", hint="Give each its own name."
        )
    for name in roles:
        if not name or len(name.encode()) > _LONGEST_NAME or "\0" in name:
            raise InvalidArgument(
                f"{name!r} names no role", hint=f"Use a name of 1 to {_LONGEST_NAME} bytes."
            )
    names = {"schema": schema, **roles._asdict()}
    return _PLACE.sub(lambda place: _literal(names[place[1]]), _SCRIPT.read_text(encoding="utf-8"))


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'{}'".format(quoted.replace("\\", "\\\\"))
