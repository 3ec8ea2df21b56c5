"""The protos as they were: in another folder, or in a commit."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eskit.codegen.reading.protoc import parse_protos
from eskit.errors import InvalidArgument, NotFound

_TIMEOUT = 60.0


def read_baseline(
    ref_or_dir: str, *, root: Path, proto_roots: Sequence[Path], exclude: Sequence[str] = ()
) -> FileDescriptorSet:
    """The protos of a folder or of a git ref, parsed.

    A folder is another checkout of the project in `root` (then its `proto_roots` are read) or
    holds protos itself. Raises NotFound for what is neither a folder nor a ref with
    protos, InvalidArgument for what can be neither, and SchemaInvalid when protoc refuses them.
    """
    folder = root / ref_or_dir
    if folder.is_dir():
        return parse_protos(_roots_in(folder, root, proto_roots), exclude=exclude).files
    with tempfile.TemporaryDirectory(prefix="eskit-baseline-") as scratch:
        _extract(_archive(ref_or_dir, root, proto_roots), Path(scratch))
        return parse_protos(_roots_in(Path(scratch), root, proto_roots), exclude=exclude).files


def _roots_in(folder: Path, root: Path, proto_roots: Sequence[Path]) -> list[Path]:
    there = [folder / _relative(path, root) for path in proto_roots]
    return [path for path in there if path.is_dir()] or [folder]


def _relative(path: Path, root: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise InvalidArgument(
            f"{path} is outside of the project, so no commit of it has it",
            hint="Compare with a folder instead: --against DIR",
        ) from None


def _archive(ref: str, root: Path, proto_roots: Sequence[Path]) -> bytes:
    """The proto folders at a git ref, as a tar file."""
    if ref.startswith("-"):
        raise InvalidArgument(f"{ref!r} is no folder and no git ref")
    folders = [_relative(path, root) for path in proto_roots]
    command = ["git", "-C", str(root), "archive", "--format=tar", ref, "--", *folders]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT)
    except FileNotFoundError:
        raise NotFound(
            f"There is no folder {ref!r}, and git is not installed to look for a ref",
            hint="Compare with a folder: --against DIR",
        ) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NotFound(
            f"{ref!r} is no folder, and git knows no protos there: {said[-1] if said else ''}",
            hint="Name a folder, a branch, a tag or a commit that has the protos.",
        )
    return done.stdout


def _extract(archive: bytes, target: Path) -> None:
    """Write the files of an archive; links and names that lead elsewhere are left out."""
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            content = tar.extractfile(member) if member.isfile() else None
            if content is None or path.is_absolute() or ".." in path.parts:
                continue
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.read())
