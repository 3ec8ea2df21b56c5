"""Run the benchmarks: ``python -m tests.benchmarks [NAME…] [--rounds N] [--json]``."""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    appending,
    checking,
    commanding,
    generating,
    growing,
    postgres,
    projecting,
    reading,
    rebuilding,
    serving,
    startup,
    streaming,
)
from tests.benchmarks.comparison import Comparison, format_amount

BENCHMARKS: dict[str, Callable[[Path, int], Iterator[Comparison]]] = {
    "startup": startup.run,
    "generating": generating.run,
    "appending": appending.run,
    "reading": reading.run,
    "commanding": commanding.run,
    "growing": growing.run,
    "rebuilding": rebuilding.run,
    "projecting": projecting.run,
    "streaming": streaming.run,
    "serving": serving.run,
    "checking": checking.run,
    "postgres": postgres.run,
}


def main() -> int:
    """Measure, print a table, and return 1 when a target is missed."""
    arguments = parse_arguments()
    comparisons = []
    for name in arguments.names or BENCHMARKS:
        print(f"measuring {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="eskit-bench-") as folder:
            comparisons += list(BENCHMARKS[name](Path(folder), arguments.rounds))
    if arguments.json:
        print(json.dumps([as_dict(comparison) for comparison in comparisons], indent=2))
    else:
        print_table(comparisons)
    return int(not all(comparison.passed for comparison in comparisons))


def parse_arguments() -> argparse.Namespace:
    """The options of this program."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (9)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    return arguments


def print_table(comparisons: list[Comparison]) -> None:
    """What was measured, and on what."""
    table = Table(box=None, pad_edge=False)
    for heading in ("work", "eskit", "floor", "ratio", "target", ""):
        table.add_column(heading, justify="left" if heading in {"work", ""} else "right")
    for comparison in comparisons:
        extra, unit = comparison.target.kind == "extra", comparison.target.unit
        table.add_row(
            comparison.name,
            format_cost(comparison, comparison.ours),
            format_cost(comparison, comparison.floor),
            f"+{format_amount(comparison.figure, unit)}" if extra else f"{comparison.figure:.2f} ×",
            str(comparison.target),
            "ok" if comparison.passed else "MISSED",
        )
        table.add_row(f"  floor: {comparison.floor_name}", style="dim")
    Console(width=110, highlight=False).print(table)
    print(
        f"\nPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.machine()}; medians, both sides measured in turn"
    )


def format_cost(comparison: Comparison, amount: float) -> str:
    """Milliseconds of one run, how many a second where it is many, or bytes."""
    if comparison.target.unit == "bytes":
        return format_amount(amount, "bytes")
    count = comparison.count
    return f"{amount * 1000:,.0f} ms" if count == 1 else f"{count / amount:,.0f}/s"


def as_dict(comparison: Comparison) -> dict[str, object]:
    """A comparison for programs."""
    return {
        "name": comparison.name,
        "floor_name": comparison.floor_name,
        "unit": comparison.target.unit,
        "ours": comparison.ours,
        "floor": comparison.floor,
        "count": comparison.count,
        "kind": comparison.target.kind,
        "figure": comparison.figure,
        "bound": comparison.target.bound,
        "passed": comparison.passed,
    }


if __name__ == "__main__":
    sys.exit(main())
