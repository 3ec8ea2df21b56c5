"""The words of docs/architecture.md are those of the code, and each has one meaning."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import eskit

PACKAGE = Path(eskit.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

# Words that only the authors would understand, and what the field says instead.
PRIVATE = {
    "careful": "quarantine",
    "complaint": "diagnostic",
    "exchange": "swap",
    "guarded": "has_exceptions",
    "mark": "event_position",
    "member": "run",
    "memo": "cache",
    "outlet": "publisher",
    "rehearse": "dry run",
    "standing": "state, verdict",
    "tally": "statistics",
    "tether": "child_process",
    "ticket": "write",
    "tip": "append_cache",
    "twin": "duplicate",
    "watcher": "supervisor",
}
# Each was the name of several things.
ONE_MEANING = [
    "Change",
    "DeadLetter",
    "Decision",
    "Finding",
    "Handler",
    "Health",
    "Migration",
    "Progress",
    "ReportProgress",
    "Runner",
    "Standing",
    "Subscription",
    "Waiting",
]


def public_definitions() -> Iterator[tuple[str, str]]:
    """Module and name of each public class, alias and function; the module for itself."""
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if path.stem.endswith("_pb2"):
            continue
        yield module, path.stem
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
            else:
                continue
            if not name.startswith(("_", "test_")):
                yield module, name


DEFINITIONS = list(public_definitions())


def glossary() -> list[tuple[str, str, str]]:
    """The rows of the table under "Words"."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    table = text.partition("\n## Words\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return [(row[0], row[1], row[2] if len(row) > 2 else "") for row in rows[2:]]


def words_of(name: str) -> set[str]:
    """The words in a name, in the singular: a dead letter in ``list_dead_letters``."""
    found = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in found} | {word.lower() for word in found}


def test_the_glossary_is_read():
    assert len(glossary()) > 20
    assert all(word and meaning for word, meaning, _ in glossary())


def test_no_word_has_two_meanings():
    words = [word for word, _, _ in glossary()]

    assert len(words) == len(set(words))


def test_every_class_that_a_word_names_is_there():
    known = {name for _, name in DEFINITIONS}
    named = [name for _, _, code in glossary() for name in re.findall(r"`(\w+)`", code)]

    assert len(named) > 15
    assert [name for name in named if name not in known] == []


@pytest.mark.parametrize("private", PRIVATE)
def test_no_public_name_has_a_private_word(private):
    found = [(module, name) for module, name in DEFINITIONS if private in words_of(name)]

    assert found == [], f"Say {PRIVATE[private]}"


@pytest.mark.parametrize("name", ONE_MEANING)
def test_a_name_means_one_thing(name):
    homes = defaultdict(list)
    for module, found in DEFINITIONS:
        homes[found].append(module)

    assert len(homes[name]) <= 1


def test_the_words_of_a_name_are_found():
    assert words_of("list_dead_letters") >= {"dead", "letter"}
    assert words_of("DeadLetterDecision") == {"dead", "letter", "decision"}
    assert words_of("JSONTwins") >= {"twin"}
