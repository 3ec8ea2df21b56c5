"""Generating code beside protoc alone on the same files, and importing what was generated.

The floor is one run of protoc as one would do it by hand: the pb2 modules and their stubs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eskit.resources import proto_dir
from tests.benchmarks.comparison import Comparison, Target, Timed, compare
from tests.benchmarks.startup import ESKIT, process

AGGREGATES = 100
MANY_TOML = """\
[tool.eskit]
app = "many.app:app"
proto = ["proto"]
gen = "many/gen"
"""


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """``eskit gen`` of the bank and of many aggregates, then the import of a module."""
    process(ESKIT, "new", "project", "bank", "--template", "bank", folder=folder)()
    yield of_the_bank(folder / "bank", rounds)
    yield from of_many(folder, rounds)
    yield import_of_a_module(folder / "bank", rounds)


def of_the_bank(project: Path, rounds: int) -> Comparison:
    """With nothing generated yet."""
    output = project / "protoc"
    protoc = process(
        *(sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "-I", proto_dir()),
        *("--python_out", output, "--pyi_out", output, "account/v1/account.proto"),
        folder=project,
    )
    return compare(
        "eskit gen of the bank",
        from_nothing(process(ESKIT, "gen", folder=project), project / "bank" / "gen"),
        floor_name="protoc --python_out --pyi_out",
        floor=from_nothing(protoc, output, create=True),
        target=Target(kind="extra", bound=0.2),
        rounds=rounds,
    )


def of_many(folder: Path, rounds: int) -> Iterator[Comparison]:
    """A hundred aggregates in as many files: all of them new, then none of them changed."""
    project = many_banks(folder)
    files = sorted(path.relative_to(project / "proto") for path in project.rglob("*.proto"))
    output = project / "protoc"
    protoc = process(
        *(sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "-I", proto_dir()),
        *("--python_out", output, "--pyi_out", output),
        *files,
        folder=project,
    )
    gen = process(ESKIT, "gen", folder=project)
    yield compare(
        f"eskit gen of {AGGREGATES} aggregates",
        from_nothing(gen, project / "many" / "gen"),
        floor_name="protoc --python_out --pyi_out",
        floor=from_nothing(protoc, output, create=True),
        target=Target(kind="time", bound=2.0),
        rounds=rounds,
    )
    yield compare(
        f"eskit gen of {AGGREGATES} aggregates, nothing changed",
        gen,
        floor_name="protoc --python_out --pyi_out",
        floor=from_nothing(protoc, output, create=True),
        target=Target(kind="time", bound=0.6),
        rounds=rounds,
    )


def import_of_a_module(project: Path, rounds: int) -> Comparison:
    """As whole processes, so that everything a module brings along counts."""
    process(ESKIT, "gen", folder=project)()
    module = "bank.gen.account.v1.account"
    return compare(
        "import of a generated module",
        process(sys.executable, "-c", f"import {module}_es", folder=project),
        floor_name="import of its pb2 module",
        floor=process(sys.executable, "-c", f"import {module}_pb2", folder=project),
        target=Target(kind="time", bound=1.5),
        rounds=rounds * 3,
    )


def many_banks(folder: Path) -> Path:
    """A project of nothing but protos: the bank's, each in a package of its own."""
    project = folder / "many"
    bank = (folder / "bank" / "proto" / "account" / "v1" / "account.proto").read_text()
    for number in range(AGGREGATES):
        proto = project / "proto" / f"account{number}" / "v1" / "account.proto"
        proto.parent.mkdir(parents=True)
        proto.write_text(
            bank.replace("account.v1", f"account{number}.v1")
            .replace('type_name: "Account"', f'type_name: "Account{number}"')
            .replace('aggregate_name: "Account"', f'aggregate_name: "Account{number}"')
        )
    (project / "pyproject.toml").write_text(MANY_TOML)
    (project / "many").mkdir()
    (project / "many" / "__init__.py").touch()
    return project


def from_nothing(work: Timed, output: Path, *, create: bool = False) -> Timed:
    """`work` with its output folder out of the way first, which does not count.

    It is moved, not removed: ext4 passes over the inodes of files deleted a moment ago, one by
    one, and creating as many again would take several times as long.
    """

    def run() -> float:
        if output.exists():
            output.rename(tempfile.mkdtemp(prefix=f"{output.name}-", dir=output.parent))
        if create:
            output.mkdir()
        return work()

    return run
