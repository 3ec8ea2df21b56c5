"""Examples and shapes generate exactly what is kept in ``golden``.

What protoc itself writes (``_pb2.py``) differs from version to version and is not kept.
After a wanted change: ``python -m tests.codegen``, and read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.codegen.shapes import SHAPES
from tests.support.trees import EXAMPLES, generate_example, generate_into

GOLDEN = Path(__file__).parent / "golden"
NAMES = (*EXAMPLES, *SHAPES)


def generated_text(name: str, folder: Path) -> dict[str, str]:
    """What eskit renders for an example or shape, by path within the generated package."""
    if name in EXAMPLES:
        generate_example(name, folder / name)
    else:
        (folder / f"of-{name}").mkdir()
        folder /= f"of-{name}"
        generate_into(folder / name, SHAPES[name])
    return texts(folder / name / "gen")


def texts(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*.py*"))
        if not path.name.endswith("_pb2.py") and path.name != "__init__.py"
    }


@pytest.mark.parametrize("name", NAMES)
def test_protos_generate_their_golden_files(name, tmp_path):
    expected = texts(GOLDEN / name)

    generated = generated_text(name, tmp_path)

    assert list(generated) == list(expected)
    for path, text in generated.items():
        assert text == expected[path], path


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_generate_without_a_warning(example, tmp_path):
    assert generate_example(example, tmp_path / example).warnings == ()


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.promise("generation-is-reproducible")
def test_the_same_protos_generate_the_same_bytes_in_another_folder(example, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    generate_example(example, first / "one")
    generate_example(example, second / "two")

    def content(root: Path) -> dict[str, bytes]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    assert content(first / "one" / "gen") == content(second / "two" / "gen")
