"""The architecture picture of README.md is the one that import-linter checks the code against."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
NAMES_WIDTH = 26  # the picture's first column


def checked_layers() -> list[set[str]]:
    """The layers of pyproject.toml, top to bottom."""
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]


def drawn_layers(document: str) -> list[set[str]]:
    """The layers that a document draws: the text block under its heading "Layers"."""
    text = (CHECKOUT / document).read_text(encoding="utf-8")
    picture = re.search(r"^#+ Layers$.*?^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert picture, f"{document} draws no layers"
    return [set(line[:NAMES_WIDTH].split()) for line in picture[1].splitlines() if line.strip()]


def test_the_picture_in_the_readme_matches_the_layers():
    assert drawn_layers("README.md") == checked_layers()


def test_every_module_of_the_package_is_in_a_layer():
    package = CHECKOUT / "eskit"
    modules = {path.stem for path in package.glob("[a-z]*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }

    assert modules <= set().union(*checked_layers())
