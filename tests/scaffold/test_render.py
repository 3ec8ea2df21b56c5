"""What becomes of a folder of templates."""

from __future__ import annotations

import compileall
from pathlib import Path

from eskit.scaffold.render import render


def test_the_bytecode_that_pip_puts_among_templates_is_left_out(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    (template / "copier.yml").write_text("_exclude: [copier.yml]\n")
    (template / "rules.py").write_text('"""The rules."""\n')
    assert compileall.compile_dir(template, quiet=1)

    files = render(template, {})

    assert [str(file.path) for file in files] == ["rules.py"]
