"""Each promise of docs/guarantees.md has a test, and each marker on a test names a promise."""

from __future__ import annotations

from tests.promises import GUARANTEES, read_evidence, read_promises


def test_every_row_of_the_page_is_a_promise_with_a_name_of_its_own():
    rows = [
        line
        for line in GUARANTEES.read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and not line.startswith(("|---", "| eskit promises |"))
    ]

    names = [promise.name for promise in read_promises()]

    assert len(names) == len(rows) == len(set(names))


def test_every_promise_has_a_test():
    evidence = read_evidence()

    assert [promise.name for promise in read_promises() if promise.name not in evidence] == []


def test_every_marker_names_a_promise():
    names = {promise.name for promise in read_promises()}

    unknown = {name: tests for name, tests in read_evidence().items() if name not in names}

    assert unknown == {}


def test_no_test_carries_a_promise_twice():
    for name, tests in read_evidence().items():
        assert len(tests) == len(set(tests)), name
