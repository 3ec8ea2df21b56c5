"""The proto files of a project, and where protoc looks for those that they import."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from eskit.codegen.reading.exclusion import Exclusion
from eskit.errors import Diagnostic, MissingPackage, ProjectError, SchemaInvalid
from eskit.resources import proto_dir

_OWN = frozenset({"eventsourcing/options.proto", "eventsourcing/response.proto"})
_WELL_KNOWN = "google/protobuf/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where each proto of a project is; names are relative to its root, as imports write them.

    Of files that the exclusion has, those are there that others import: for their messages.
    """

    roots: tuple[Path, ...]
    files: Mapping[str, Path]
    exclusion: Exclusion = field(default_factory=Exclusion)
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def names(self) -> list[str]:
        """The protos to generate, sorted."""
        return list(self.files)

    def read(self, name: str) -> str | None:
        """The text of a proto, or None if it is not the project's or cannot be read."""
        path = self.files.get(name)
        if path is None:
            return None
        try:
            return path.read_bytes().decode(errors="replace")
        except OSError:
            return None

    def display(self, name: str) -> str:
        """Where a person finds the proto."""
        return str(self.files.get(name, name))


def is_foreign(name: str) -> bool:
    """Whether a proto is eskit's own or protobuf's: a copy of it is not generated again."""
    return name in _OWN or name.startswith(_WELL_KNOWN)


def load_sources(roots: Sequence[Path], *, exclude: Sequence[str] = ()) -> Sources:
    """Every ``.proto`` below `roots`, except copies of eskit's own and protobuf's, and `exclude`.

    Folders that start with a dot are passed over: environments and version control have protos
    of others.

    Raises ProjectError when a root is missing, a name is not UTF-8 or there is nothing to
    generate, and SchemaInvalid when two roots have a file of one name.
    """
    for root in roots:
        if not root.is_dir():
            raise ProjectError(
                f"No folder {root} to find protos in",
                hint="Create it, or correct proto in [tool.eskit].",
            )
    # A root inside another comes first, so that its files are named relative to it.
    ordered = sorted({root.resolve(): root for root in roots}.items(), key=_depth)
    files: dict[str, Path] = {}
    taken: set[Path] = set()
    copies = False
    for resolved, root in ordered:
        for path in sorted(root.rglob("*.proto")):
            name = path.relative_to(root).as_posix()
            real = resolved / name
            copies = copies or is_foreign(name)
            if real in taken or is_foreign(name) or _is_hidden(name):
                continue
            _check_readable(name)
            taken.add(real)
            if name in files:
                raise _twice(name, files[name], path)
            files[name] = path
    exclusion = Exclusion(tuple(exclude))
    selected = exclusion.select(dict(sorted(files.items())))
    if not selected.files:
        listed = ", ".join(str(root) for root in roots) or "no proto root"
        raise _nothing(listed, exclusion if files else None, copies=copies)
    return Sources(
        roots=tuple(root for _, root in ordered),
        files=selected.files,
        exclusion=exclusion,
        warnings=tuple(map(_unused, selected.unused)),
    )


def _nothing(where: str, exclusion: Exclusion | None, *, copies: bool) -> ProjectError:
    if exclusion:
        return ProjectError(
            f"exclude leaves out every .proto file in {where}",
            hint="Take an entry out of exclude in the settings.",
        )
    what = "No .proto file but copies of protobuf's or eskit's own" if copies else "No .proto file"
    return ProjectError(
        f"{what} in {where}", hint="Write one, or begin with: eskit new aggregate NAME"
    )


def _unused(entry: str) -> Diagnostic:
    return Diagnostic(
        severity="warning",
        code="EXCLUDES_NOTHING",
        message=f"exclude has {entry!r}, which is no file, package or service of the protos",
        hint="Correct it, or take it out: a folder ends with a slash, names are written in full.",
    )


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _check_readable(name: str) -> None:
    """Descriptors hold the names of files as text."""
    readable = os.fsencode(name).decode("utf-8", "backslashreplace")
    if readable != name:
        raise ProjectError(f"The file name {readable} is not UTF-8", hint="Rename the file.")


def _depth(item: tuple[Path, Path]) -> tuple[int, Path]:
    return -len(item[0].parts), item[0]


def _twice(name: str, first: Path, second: Path) -> SchemaInvalid:
    finding = Diagnostic(
        code="DUPLICATE_FILE",
        message=f"{first} and {second} are both imported as {name}",
        hint="Rename one of them: the second would never be found.",
        file=str(second),
    )
    return SchemaInvalid("Two protos have one name", diagnostics=[finding], hint=finding.hint)


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
