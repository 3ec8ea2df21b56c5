"""Which promise of docs/guarantees.md a test of a contract suite is evidence for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Test = TypeVar("_Test", bound=Callable[..., object])


def promise(name: str) -> Callable[[_Test], _Test]:
    """Mark a test as evidence for the promise `name`: ``@promise("appends-are-atomic")``.

    Not a marker of pytest: a project that runs a contract suite would have to register it. The page
    of evidence is made from the source, so nothing is kept at run time.
    """
    del name
    return lambda test: test
