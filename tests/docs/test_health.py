"""Each row of docs/health.md names the tests that hold it to its word."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "health.md"
_TEST = re.compile(r"`(test_\w+)`")


def rows() -> list[list[str]]:
    """The cells of every row below a heading."""
    found = []
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|") or line.startswith("|---"):
            continue
        found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return [row for row in found if row[0] != "condition"]


def test_every_condition_says_something_in_every_place_and_names_its_tests():
    for condition, *cells, tests in rows():
        assert all(cells), condition
        assert _TEST.findall(tests), condition


def test_the_tests_that_are_named_are_there():
    defined = {
        name
        for file in TESTS.rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }

    named = {name for row in rows() for name in _TEST.findall(row[-1])}

    assert named - defined == set()
