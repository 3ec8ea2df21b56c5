"""Public names that load their module on first use.

A module names what it exports once, in the stub beside it: type checkers read the stub, and so does
`lazy`. Importing the module then costs nothing for what is not used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any


def lazy(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a module, by its ``__name__`` and ``__file__``.

    Its stub has a line ``from module import Name as Name`` for each name.
    """

    @cache
    def modules() -> dict[str, str]:
        found = {}
        # Importing pathlib would take longer than all of this.
        path = os.path.splitext(file)[0] + ".pyi"  # noqa: PTH122
        with open(path, encoding="utf-8") as stub:  # noqa: PTH123
            for line in stub:
                match line.split():
                    case ["from", module, "import", name, "as", same] if name == same:
                        found[name] = module
        return found

    def load(name: str) -> Any:
        if name == "__all__":
            return sorted(modules())
        module = modules().get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module), name)
        # From now on the name is found without this function.
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(modules())
