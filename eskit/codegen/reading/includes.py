"""Where protoc looks for a proto that another one imports."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from eskit.errors import MissingPackage
from eskit.resources import proto_dir


def include_folders(roots: Sequence[Path]) -> list[Path]:
    """The folders in the order protoc searches them.

    ``eventsourcing/options.proto`` always comes from eskit, whatever the roots hold; protos that
    installed packages bring are found, too.
    """
    return [proto_dir(), *roots, compiler_folder() / "_proto", *installed_protos()]


@cache
def compiler_folder() -> Path:
    """The folder of protoc and the protos it brings, found without loading it."""
    found = find_spec("grpc_tools")
    if found is None or found.origin is None:
        raise MissingPackage("Reading protos", "grpcio-tools")
    return Path(found.origin).parent


def installed_protos() -> list[Path]:
    """Folders where installed packages keep protos beside their modules."""
    paths = sysconfig.get_paths()
    return [Path(folder) for folder in dict.fromkeys((paths["purelib"], paths["platlib"]))]
