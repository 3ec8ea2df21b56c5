"""The examples in docstrings of public names run, in the project that they speak of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eskit.codegen.generate import generate
from eskit.scaffold.project import new_project
from tests.test_public_api import PUBLIC

SHOWN_BY_EXAMPLE = ["Aggregate", "App", "Projection", "Reaction", "claim", "open_store"]

# In a process of its own: protos of the bank are loaded in that of other tests already.
_RUN = """
import doctest, importlib, sys
module, name = sys.argv[1:]
found = getattr(importlib.import_module(module), name)
tests = doctest.DocTestFinder(recurse=False).find(found, name, globs={})
runner = doctest.DocTestRunner()
for test in tests:
    runner.run(test)
print(runner.tries, "tried")
sys.exit(runner.failures > 0)
"""


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project") / "bank"
    new_project("bank", template="bank", target=root).apply()
    generate(proto_roots=[root / "proto"], output=root / "bank" / "gen", app_name="bank")
    return root


def run_examples(project: Path, module: str, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN, module, name],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", SHOWN_BY_EXAMPLE)
def test_the_example_of_a_public_name_runs(bank, name):
    ran = run_examples(bank, "eskit", name)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert not ran.stdout.startswith("0 "), f"{name} has no example"


def test_every_name_with_an_example_is_public():
    assert set(SHOWN_BY_EXAMPLE) <= set(PUBLIC["eskit"].split())


def test_a_wrong_example_fails(bank):
    (bank / "wrong.py").write_text('def claim():\n    """\n    >>> 1 + 1\n    3\n    """\n')

    ran = run_examples(bank, "wrong", "claim")

    assert ran.returncode == 1
    assert "Expected:\n    3\nGot:\n    2" in ran.stdout
