"""What a scaffold command is about to create, and creating it: all of it or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from eskit.errors import ProjectError
from eskit.scaffold.missing import MissingMethods


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file to create: where below the plan's root, what it is for, and its content."""

    path: PurePosixPath
    description: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Files to create below `root`, in order, and what the user does next.

    With `creates_root` the root itself is new, too. `next_steps` are texts to show as they are:
    commands to run, or code to add to a file that exists. `missing` are methods that files which
    exist still lack. Making a plan changes nothing.
    """

    root: Path
    files: tuple[PlannedFile, ...]
    creates_root: bool = False
    next_steps: tuple[str, ...] = ()
    missing: tuple[MissingMethods, ...] = ()

    def apply(self) -> list[Path]:
        """Create the files and return their paths.

        Raises TARGET_EXISTS when something is in the way, and ProjectError when the disk refuses;
        then nothing was created. No file that exists is ever changed.
        """
        try:
            return self._create_root() if self.creates_root else self._add_files()
        except FileExistsError as error:
            raise ProjectError(
                f"{error.filename} exists already",
                code="TARGET_EXISTS",
                hint="Move it away, or choose another name.",
            ) from error
        except OSError as error:
            raise ProjectError(
                f"Cannot write {error.filename or self.root}: {error.strerror}",
                code="PROJECT_ERROR",
                hint="Nothing was created. Check the folder's permissions and the free space.",
            ) from error

    def _create_root(self) -> list[Path]:
        """Write into a folder beside the root, then give it the root's name in one step."""
        with tempfile.TemporaryDirectory(prefix=".eskit-", dir=self.root.parent) as scratch:
            built = Path(scratch) / self.root.name
            for file in self.files:
                _write_new(built / file.path, file.content)
            if self.root.exists() or self.root.is_symlink():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.root))
            built.rename(self.root)
        return self._paths()

    def _add_files(self) -> list[Path]:
        created: list[Path] = []
        try:
            for path, file in zip(self._paths(), self.files, strict=True):
                created += _make_folders(path.parent)
                created.append(_write_new(path, file.content))
        except OSError:
            for path in reversed(created):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise
        return self._paths()

    def _paths(self) -> list[Path]:
        return [self.root / file.path for file in self.files]


def _make_folders(folder: Path) -> list[Path]:
    """Create a folder and those above it that are missing; returns what was created."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _write_new(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
    return path
