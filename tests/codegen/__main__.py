"""Rewrite the golden files: ``python -m tests.codegen``."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.codegen.test_diagnostics import EXPECTED, REFUSED, diagnosed, shown
from tests.codegen.test_golden import GOLDEN, NAMES, generated_text

with tempfile.TemporaryDirectory() as folder:
    for example in NAMES:
        shutil.rmtree(GOLDEN / example, ignore_errors=True)
        for name, text in generated_text(example, Path(folder)).items():
            path = GOLDEN / example / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(path.relative_to(GOLDEN))
    os.chdir(REFUSED)
    EXPECTED.write_text(shown(diagnosed(Path(folder))))
    print(EXPECTED.name)
