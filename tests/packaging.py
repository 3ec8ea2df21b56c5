"""Check what a built sdist and wheel contain: ``python -m tests.packaging dist/*``."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

CHECKOUT = Path(__file__).parents[1]
DOCUMENTS = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
TOP = {*DOCUMENTS, "pyproject.toml", "noxfile.py"}
UNWANTED = re.compile(r"(\.db(-shm|-wal)?|\.pyc|\.nox|_cache)$|__pycache__|/\.(eskit|git|venv)/")


def wanted_in_the_wheel() -> set[str]:
    """Every file of the package, its templates and its protos."""
    wanted = {
        f"eskit/{folder}{path.relative_to(root).as_posix()}"
        for folder, root in (
            ("", CHECKOUT / "eskit"),
            ("templates/", CHECKOUT / "templates"),
            ("proto/", CHECKOUT / "proto"),
        )
        for path in root.rglob("*")
        if path.is_file()
    }
    return {name for name in wanted if not UNWANTED.search(name)}


def names(archive: Path) -> set[str]:
    """The files of a wheel, or of an sdist without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name for name in wheel.namelist() if not name.endswith("/")}
    with tarfile.open(archive) as sdist:
        return {
            str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
            for member in sdist.getmembers()
            if member.isfile()
        }


def findings(archive: Path) -> list[str]:
    """What is missing from an archive, or should not be in it."""
    found = names(archive)
    if archive.suffix == ".whl":
        package = {name for name in found if name.startswith("eskit/")}
        missing, surplus = wanted_in_the_wheel() - found, package - wanted_in_the_wheel()
    else:
        missing = TOP - found
        surplus = {name for name in found if UNWANTED.search(name)}
    return [
        *(f"{archive.name} lacks {name}" for name in sorted(missing)),
        *(f"{archive.name} should not contain {name}" for name in sorted(surplus)),
    ]


def main() -> int:
    """Print the findings and return 1 when there are any."""
    archives = [Path(name) for name in sys.argv[1:]]
    found = [finding for archive in archives for finding in findings(archive)]
    for finding in found:
        print(finding)
    print(f"{len(archives)} archives, {len(found)} findings")
    return int(bool(found) or not archives)


if __name__ == "__main__":
    sys.exit(main())
