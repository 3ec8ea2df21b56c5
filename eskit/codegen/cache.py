"""Remembers what the last generation saw and wrote, so that an unchanged project costs nothing.

The cache is one digest over everything that generation depends on: the generator itself, the
settings, every proto that was read, and the output folder as generation left it. It is of this
machine only, and losing it costs no more than one full run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import eskit
from eskit.codegen.output import GenResult, package_files
from eskit.codegen.reading.sources import Sources, compiler_folder, include_folders
from eskit.errors import Diagnostic
from eskit.files.modes import make_folder, make_if_missing
from eskit.resources import proto_dir, templates_dir


@dataclass(frozen=True, slots=True)
class Cache:
    """What the last generation of one project saw and wrote, in `file`."""

    file: Path
    sources: Sources
    output: Path
    settings: tuple[str, ...]

    def recall(self) -> GenResult | None:
        """What the last run said, if no generated file, and nothing they are made from, changed."""
        try:
            kept = json.loads(self.file.read_text("utf-8"))
            if kept["digest"] != self._digest(self.inputs(), kept["imported"]):
                return None
            return GenResult(
                unchanged=tuple(self.output / name for name in kept["files"]),
                warnings=tuple(Diagnostic(**warning) for warning in kept["warnings"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def inputs(self) -> str:
        """A digest of the generator, the settings and the project's protos as they are now."""
        return _digest(self._inputs())

    def keep(
        self,
        files: Iterable[str],
        *,
        inputs: str,
        imported: Sequence[str],
        warnings: Sequence[Diagnostic],
    ) -> None:
        """Remember the output folder as it is now; `imported` are protos of others.

        `inputs` is from before the protos were read: one that was saved since must be noticed.
        """
        with suppress(OSError):  # a folder that cannot be written to has no cache
            make_folder(self.file.parent)
            make_if_missing(self.file)
            kept = {
                "digest": self._digest(inputs, imported),
                "imported": list(imported),
                "files": sorted(files),
                "warnings": [warning._asdict() for warning in warnings],
            }
            self.file.write_text(json.dumps(kept), "utf-8")

    def _digest(self, inputs: str, imported: Sequence[str]) -> str:
        return _digest((inputs.encode(), *self._imports(imported), *self._outputs()))

    def _inputs(self) -> Iterator[bytes]:
        for text in (eskit.__version__, str(self.output), *self.settings, *_generator()):
            yield text.encode()
        for name, path in self.sources.files.items():
            yield name.encode()
            yield path.read_bytes()

    def _imports(self, imported: Sequence[str]) -> Iterator[bytes]:
        folders = include_folders(self.sources.roots)
        for name in imported:
            found = (path for folder in folders if (path := folder / name).is_file())
            yield name.encode()
            yield next(found, Path(os.devnull)).read_bytes()

    def _outputs(self) -> Iterator[bytes]:
        for file in package_files(self.output):
            yield os.fsencode(file)
            yield file.read_bytes()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _generator() -> Iterator[str]:
    """What generates: eskit's generator, its templates and protoc, by size and time."""
    here = Path(__file__).parent
    own = (here, here / "reading", here / "python")
    folders = (*own, templates_dir() / "codegen", proto_dir() / "eventsourcing")
    for folder in (*folders, compiler_folder()):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_file():
                found = entry.stat()
                yield f"{entry.path} {found.st_size} {found.st_mtime_ns}"
