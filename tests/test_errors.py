"""The error tree in the docstring of eskit.errors is the tree of its classes."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import eskit
from eskit import errors
from eskit.errors import EskitError, MissingPackage

_LINE = re.compile(r"^(?P<indent>[│ ]*)(?:[├└]── )?(?P<name>[A-Z][a-z]\w+)? *(?P<told>.*)$")
_CODE = re.compile(r"\b[A-Z][A-Z_]+[A-Z]\b")


def drawn() -> Iterator[tuple[str, str, set[str]]]:
    """Name, parent and codes of each class, as the docstring draws them."""
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    lines = [match for match in map(_LINE.match, tree.splitlines()) if match]
    parents: list[str] = []
    for number, line in enumerate(lines):
        if line["name"] is None:
            continue
        del parents[len(line["indent"]) // 4 + (line["name"] != "EskitError") :]
        told = line["told"]
        for more in lines[number + 1 :]:
            if more["name"] is not None:
                break
            told += more["told"]
        yield line["name"], parents[-1] if parents else "Exception", set(_CODE.findall(told))
        parents.append(line["name"])


def raised_codes() -> Iterator[tuple[str, str]]:
    """Each class that eskit makes with a code of its own, and that code."""
    for path in Path(eskit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        yield node.func.id, keyword.value.value


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


BASE: dict[str, type[EskitError]] = {"EskitError": EskitError}
ERRORS = all_errors()
EXPORTED = {name for name, error in ERRORS.items() if error.__module__ == errors.__name__}


def test_the_drawn_tree_is_the_tree_of_the_classes():
    tree = {name: parent for name, parent, _ in drawn() if name != "EskitError"}

    assert tree == {name: error.__bases__[0].__name__ for name, error in ERRORS.items()}


def test_the_code_of_every_class_is_drawn_beside_it():
    codes = {name: codes for name, _, codes in drawn()}

    assert [name for name, error in ERRORS.items() if error.code not in codes[name]] == []


def test_every_other_code_is_drawn_beside_the_class_that_is_raised_with_it():
    codes = {name: codes - {(ERRORS | BASE)[name].code} for name, _, codes in drawn()}
    raised: dict[str, set[str]] = {name: set() for name in codes}
    for name, code in raised_codes():
        if name in codes:
            raised[name].add(code)
    raised["MissingPackage"].add(MissingPackage("This", "nkeys", extra="nkeys").code)

    assert raised == codes


def test_no_code_is_drawn_twice():
    codes = [code for _, _, codes in drawn() for code in codes]

    assert sorted(codes) == sorted(set(codes))


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


def test_a_code_that_is_given_stands_for_that_of_the_class():
    error = errors.ProjectError("shop exists", code="TARGET_EXISTS")

    assert (error.code, errors.ProjectError.code) == ("TARGET_EXISTS", "PROJECT_INVALID")


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
