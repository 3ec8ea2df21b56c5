"""Run documents outside the tests: ``python -m tests.docs README.md [--bin DIR]``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.docs.document import DocumentFailed, run_document


def main() -> int:
    """Run each document in a new temporary folder and say how many steps it had."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs", description=__doc__)
    parser.add_argument("documents", nargs="+", type=Path)
    parser.add_argument("--bin", type=Path, help="where eskit and python are, if not on PATH")
    arguments = parser.parse_args()
    path = [str(arguments.bin)] if arguments.bin else []
    environment = {"PATH": os.pathsep.join([*path, os.environ["PATH"]])}
    failed = False
    for document in arguments.documents:
        with tempfile.TemporaryDirectory(prefix="eskit-docs-") as folder:
            try:
                steps = run_document(document.resolve(), Path(folder), environment=environment)
            except DocumentFailed as failure:
                failed = True
                print(failure)
            else:
                print(f"{document}: {steps} steps")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
