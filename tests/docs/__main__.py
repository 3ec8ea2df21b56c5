"""Run documents with the eskit on PATH: ``python -m tests.docs README.md [--in DIR]``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.docs.document import DocumentFailed, run_document


def main() -> int:
    """Run each document in a new folder and say how many steps it had."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs", description=__doc__)
    parser.add_argument("documents", nargs="+", type=Path)
    parser.add_argument("--in", dest="folder", type=Path, help="where to make the folders")
    arguments = parser.parse_args()
    failed = False
    for document in arguments.documents:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            try:
                steps = run_document(document.resolve(), Path(folder))
            except DocumentFailed as failure:
                failed = True
                print(failure)
            else:
                print(f"{document}: {steps} steps")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
