"""Where eskit's own templates and protos are, installed or in a checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from eskit.errors import ProjectError

_PACKAGE = Path(__file__).resolve().parent


@cache
def templates_dir() -> Path:
    """The folder that holds ``project/``, ``aggregate/``, ``projection/`` and ``codegen/``."""
    return _resource("templates")


@cache
def proto_dir() -> Path:
    """The folder to import ``eventsourcing/options.proto`` from."""
    return _resource("proto")


def _resource(name: str) -> Path:
    """Beside the package in a wheel; in the folder above it in a checkout."""
    installed = _PACKAGE / name
    if installed.is_dir():
        return installed
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise ProjectError(
        f"eskit's own {name} are missing from {_PACKAGE}",
        hint="The installation is incomplete: pip install --force-reinstall eskit",
    )
