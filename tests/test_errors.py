"""The error tree in the docstring of eskit.errors is the tree of its classes."""

from __future__ import annotations

import inspect
import re

import pytest

from eskit import errors
from eskit.errors import EskitError

_BRANCH = re.compile(r"^(?P<indent>[│ ]*)(?:[├└]── )(?P<name>\w+)")


def drawn_tree() -> dict[str, str]:
    """Child to parent, as the docstring draws it."""
    parents = ["EskitError"]
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := _BRANCH.match(line):
            depth = len(match["indent"]) // 4 + 1
            del parents[depth:]
            tree[match["name"]] = parents[-1]
            parents.append(match["name"])
    return tree


def real_tree() -> dict[str, str]:
    """Child to parent, as the classes inherit."""
    return {
        name: error.__bases__[0].__name__
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, EskitError) and error is not EskitError
    }


def test_the_drawn_tree_is_the_tree_of_the_classes():
    assert drawn_tree() == real_tree()


def test_every_error_is_exported():
    assert set(real_tree()) | {"EskitError", "Diagnostic"} == set(errors.__all__)


def test_every_error_has_a_code_of_its_own():
    codes = [getattr(errors, name).code for name in real_tree()]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[A-Z][A-Z_]*[A-Z]", code) for code in codes)


@pytest.mark.parametrize("name", sorted(real_tree()))
def test_every_error_says_what_it_means(name):
    documentation = getattr(errors, name).__doc__

    assert documentation
    assert documentation.splitlines()[0].rstrip().endswith((".", ":"))


def test_an_error_keeps_its_sentence_and_its_hint():
    error = EskitError("The store is gone", hint="Look for it.")

    assert (str(error), error.message, error.hint) == (
        "The store is gone",
        "The store is gone",
        "Look for it.",
    )


def test_a_rejection_keeps_the_four_fields_of_the_wire():
    error = errors.CommandRejected(
        "ACCOUNT_CLOSED", "The account is closed", solution="Open another.", details={"id": "a"}
    )

    assert error.rejection == "ACCOUNT_CLOSED"
    assert error.message == "The account is closed"
    assert error.solution == error.hint == "Open another."
    assert error.details == {"id": "a"}
    assert str(error) == "The account is closed (ACCOUNT_CLOSED)"


def test_a_conflict_names_stream_expected_and_actual():
    error = errors.VersionConflict("Account-1", 3, 4)

    assert (error.stream, error.expected, error.actual) == ("Account-1", 3, 4)
    assert str(error) == "Account-1 is at version 4, expected 3"
