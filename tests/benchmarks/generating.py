"""Generating the bank's code beside protoc alone on the same file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from eskit.resources import proto_dir
from tests.benchmarks.comparison import Comparison, Target, compare
from tests.benchmarks.startup import ESKIT, process


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """``eskit gen`` of the bank with nothing generated yet."""
    process(ESKIT, "new", "project", "bank", "--template", "bank", folder=folder)()
    project, output = folder / "bank", folder / "protoc"
    generated = project / "bank" / "gen"
    protoc = process(
        *(sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", "-I", proto_dir()),
        *("--python_out", output, "--pyi_out", output, "account/v1/account.proto"),
        folder=project,
    )
    gen = process(ESKIT, "gen", folder=project)

    def floor() -> float:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        return protoc()

    def ours() -> float:
        shutil.rmtree(generated, ignore_errors=True)
        return gen()

    yield compare(
        "eskit gen of the bank",
        ours,
        floor_name="protoc --python_out --pyi_out",
        floor=floor,
        target=Target(kind="extra", bound=0.2),
        rounds=rounds,
    )
