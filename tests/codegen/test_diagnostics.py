"""A set of protos with every mistake says what golden/refused.txt says, as a user sees it.

After a wanted change: ``python -m tests.codegen``, and read the difference.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from eskit.cli.terminal.diagnostics import format_diagnostics
from eskit.cli.terminal.text import plain
from eskit.codegen.generate import generate
from eskit.errors import SchemaInvalid

HERE = Path(__file__).parent
REFUSED = HERE / "refused"
EXPECTED = HERE / "golden" / "refused.txt"


def diagnosed(folder: Path) -> SchemaInvalid:
    """What the generator has against the protos."""
    with pytest.raises(SchemaInvalid) as caught:
        generate(proto_roots=[REFUSED], output=folder / "gen", app_name="shop")
    return caught.value


def shown(error: SchemaInvalid) -> str:
    """The diagnostics as the command line prints them from the folder of the protos."""
    lines = (plain(line) + "\n" for line in format_diagnostics(error.diagnostics))
    return "".join(lines).replace(f"{REFUSED}/", "")


def test_every_mistake_is_shown_with_its_place_its_line_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(REFUSED)

    assert shown(diagnosed(tmp_path)) == EXPECTED.read_text()
    assert not (tmp_path / "gen").exists()


def test_the_set_holds_every_kind_of_mistake(tmp_path):
    codes = Counter(found.code for found in diagnosed(tmp_path).diagnostics)

    assert set(codes) == {
        "AGGREGATE_NAME",
        "DUPLICATE_AGGREGATE",
        "ID_FIELD_MISSING",
        "ID_FIELD_NOT_A_STRING",
        "ID_FIELD_UNKNOWN",
        "NAME_CLASH",
        "PYTHON_KEYWORD",
        "RESERVED_PACKAGE",
        "STREAMING_RPC",
        "UNKNOWN_AGGREGATE",
    }
