"""Options that several commands share, and reading the values of any of them."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, get_args

import typer

Limit = Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of rows.")]
"""How many entries a list has at most."""
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept as the audit record.")]
By = Annotated[
    str, typer.Option(metavar="NAME", help="Who decides; the user of this machine by default.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen, change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def operator(by: str) -> str:
    """Who decides: as given with --by, else the user of this machine."""
    return by or getpass.getuser()


# Without what follows, typer 0.29 imports pydantic (75 ms) to check the value of any option. Text,
# and a default that already has its type, need no checking; whatever else is typed goes to typer as
# usual, a number without the separators that eskit shows it with. Earlier typers do not have
# `get_runtime_param` and are left alone.

_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
"""A number as it is shown."""


class LazyCoercion:
    """Stands in for a parameter's coercion, and asks for the real one only when it is needed."""

    def __init__(self, annotation: object, build: Callable[[], Any]) -> None:
        self._annotation = annotation
        self._build = build
        self._is_number = annotation is int or int in get_args(annotation)

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command gets it."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if isinstance(self._annotation, type) and isinstance(value, self._annotation):
            return value
        if self._annotation == list[str]:
            return value
        if self._is_number and isinstance(value, str) and _THOUSANDS.fullmatch(value):
            value = value.replace(",", "")
        return self._build().coerce(value, param=param, ctx=ctx)


def coerce_lazily(parameters: Sequence[Any]) -> Sequence[Any]:
    """Make parameters check their values without pydantic where that is possible."""
    for parameter in parameters:
        if hasattr(parameter, "get_runtime_param") and "get_runtime_param" not in vars(parameter):
            annotation = parameter.type_descriptor.annotation
            coercion = LazyCoercion(annotation, parameter.get_runtime_param)
            parameter.get_runtime_param = partial(_identity, coercion)
    return parameters


def _identity(coercion: LazyCoercion) -> LazyCoercion:
    return coercion
