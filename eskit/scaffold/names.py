"""Names of new projects and projections, and of the packages and modules that hold them."""

from __future__ import annotations

import keyword
import re
import sys
import sysconfig
from importlib.machinery import PathFinder

from eskit.errors import InvalidArgument

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_MAX_LENGTH = 40
_TAKEN = frozenset({"eskit", "eventsourcing", "google", "proto", "tests"})
_TOOLS = frozenset({"hatchling", "mypy", "nkeys", "opentelemetry", "psycopg", "pytest", "ruff"})
"""What projects install beside what is there when they are made."""


def package_name(project: str) -> str:
    """The import package of a project: ``my-shop`` gives ``my_shop``.

    Raises InvalidArgument for a name that makes no package, or one that hides another.
    """
    package = project.replace("-", "_")
    if not _NAME.fullmatch(project) or len(project) > _MAX_LENGTH:
        raise InvalidArgument(
            f"{project!r} cannot name a project",
            hint=f"A name has at most {_MAX_LENGTH} characters: a letter from a to z, then "
            "letters, digits, and single '-' or '_' between them.",
        )
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        raise InvalidArgument(
            f"{project!r} cannot name a project: it is a word of Python itself",
            hint=f"For example {project}-service.",
        )
    if package in {*sys.stdlib_module_names, *_TAKEN, *_TOOLS} or _is_installed(package):
        raise InvalidArgument(
            f"{project!r} cannot name a project: it would hide the package {package!r}",
            hint=f"For example {project}-service.",
        )
    return package


def _is_installed(package: str) -> bool:
    """Whether a library has the name: the project would hide it, wherever it is imported."""
    paths = sysconfig.get_paths()
    return PathFinder.find_spec(package, [paths["purelib"], paths["platlib"]]) is not None


def module_of_projection(name: str) -> str:
    """The module of a projection: ``account-balance`` gives ``account_balance``.

    Raises InvalidArgument for a name that makes no module.
    """
    module = name.replace("-", "_")
    if (
        not _NAME.fullmatch(name)
        or len(name) > _MAX_LENGTH
        or keyword.iskeyword(module)
        or module == "migrations"
    ):
        raise InvalidArgument(
            f"{name!r} cannot name a new projection",
            hint=f"A name has at most {_MAX_LENGTH} characters and is no word of Python: a letter "
            "from a to z, then letters, digits, and single '-' or '_' between them.",
        )
    return module
