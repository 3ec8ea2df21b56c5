"""The error tree in the docstring of eskit.errors is the tree of its classes."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest

import eskit
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


def all_errors() -> dict[str, type[EskitError]]:
    """Every error that a module of eskit defines, by name."""
    for module in pkgutil.walk_packages(eskit.__path__, "eskit."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    found: dict[str, type[EskitError]] = {}
    waiting = [EskitError]
    while waiting:
        for error in waiting.pop().__subclasses__():
            if error.__module__.startswith("eskit."):
                found[error.__name__] = error
                waiting.append(error)
    return found


ERRORS = all_errors()
EXPORTED = {name for name, error in ERRORS.items() if error.__module__ == errors.__name__}


def test_the_drawn_tree_is_the_tree_of_the_classes():
    assert drawn_tree() == {name: error.__bases__[0].__name__ for name, error in ERRORS.items()}


def test_every_error_of_the_module_is_exported():
    assert EXPORTED | {"EskitError", "Diagnostic"} == set(errors.__all__)


def test_an_error_of_another_module_is_drawn_with_its_place():
    elsewhere = {name: error.__module__ for name, error in ERRORS.items() if name not in EXPORTED}
    lines = (errors.__doc__ or "").splitlines()

    assert [
        (name, module)
        for name, module in elsewhere.items()
        if not any(f" {name} " in line and f"({module})" in line for line in lines)
    ] == []


def test_every_error_has_a_code_of_its_own():
    codes = [error.code for error in ERRORS.values()]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[A-Z][A-Z_]*[A-Z]", code) for code in codes)


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_says_what_it_means(name):
    documentation = ERRORS[name].__doc__

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
