"""``eskit gen``: what it says of what it did, of warnings and of problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import eskit

WARNING = """\
syntax = "proto3";
package shop.v1;
import "google/protobuf/empty.proto";
message Order { string id = 1; }
"""
BROKEN = """\
syntax = "proto3";
package shop.v1;
message Order { strin id = 1; }
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project with one proto that protoc warns about."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "proto").mkdir()
    (tmp_path / "proto" / "shop.proto").write_text(WARNING)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.eskit]\napp = "shop.app:app"\nproto = ["proto"]\ngen = "shop/gen"\n'
    )
    return tmp_path


def test_what_was_written_is_listed_and_warnings_are_beside_it(shop):
    ran = eskit("gen", cwd=shop)

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "3 files written in shop/gen, 0 unchanged, 0 removed"
    assert ran.err.splitlines() == [
        "proto/shop.proto:3:1  warning  Import google/protobuf/empty.proto is unused.",
        '    3 │ import "google/protobuf/empty.proto";',
        "      │ ^^^^^^",
        "   Remove the import.",
    ]


def test_json_lists_the_paths_and_the_warnings(shop):
    ran = eskit("gen", "--json", cwd=shop)

    assert ran.json == {
        "version": 1,
        "status": "ok",
        "data": {
            "written": [
                "shop/gen/__init__.py",
                "shop/gen/shop_pb2.py",
                "shop/gen/shop_pb2.pyi",
            ],
            "removed": [],
            "unchanged": [],
        },
        "error": None,
        "diagnostics": [
            {
                "severity": "warning",
                "code": "PROTO_WARNING",
                "message": "Import google/protobuf/empty.proto is unused.",
                "hint": "Remove the import.",
                "file": "proto/shop.proto",
                "line": 3,
                "column": 1,
                "width": 6,
            }
        ],
    }


def test_a_check_lists_what_is_missing(shop):
    ran = eskit("gen", "--check", "--json", cwd=shop)
    shown = eskit("gen", "--check", cwd=shop)

    assert ran.code == shown.code == 3
    assert ran.json["status"] == "failed"
    assert ran.json["data"]["stale"] == ran.json["data"]["edited"] == []
    assert "shop/gen/shop_pb2.py" in ran.json["data"]["missing"]
    assert "missing  shop/gen/shop_pb2.py" in shown.out


def test_a_check_tells_what_is_stale_from_what_is_missing(shop):
    eskit("gen", cwd=shop)
    (shop / "shop" / "gen" / "shop_pb2.pyi").unlink()
    proto = shop / "proto" / "shop.proto"
    proto.write_text(proto.read_text() + "message Another {}\n")

    found = eskit("gen", "--check", "--json", cwd=shop).json["data"]

    assert found["missing"] == ["shop/gen/shop_pb2.pyi"]
    assert found["stale"] == ["shop/gen/shop_pb2.py"]


def test_places_are_written_as_seen_from_where_the_user_stands(shop):
    (shop / "proto" / "shop.proto").write_text(BROKEN)

    below = eskit("gen", cwd=shop / "proto")
    beside = eskit("gen", "--json", cwd=shop / "shop")

    assert below.code == beside.code == 1
    assert below.err.startswith('shop.proto:3:17  "strin" is not defined.\n')
    assert [found["file"] for found in beside.json["diagnostics"]] == ["../proto/shop.proto"]
    assert beside.json["diagnostics"][0]["width"] == len("strin")


def test_a_second_run_says_that_nothing_changed(shop):
    (shop / "proto" / "shop.proto").write_text(WARNING.replace('import "google', '// "google'))
    eskit("gen", cwd=shop)

    again = eskit("gen", cwd=shop)

    assert (again.code, again.out, again.err) == (0, "shop/gen is up to date, 3 files\n", "")
    assert (shop / ".eskit" / "gen.json").is_file()


def test_a_long_line_is_shown_around_the_place(shop):
    long = "x" * 300
    (shop / "proto" / "shop.proto").write_text(
        f'syntax = "proto3";\nmessage Order {{ /* {long} */ strin id = 1; /* {long} */ }}\n'
    )

    _, source, caret, *_ = eskit("gen", cwd=shop).err.splitlines()

    assert len(source) < 120
    assert source.startswith("    2 │ …")
    assert source.endswith("…")
    assert source[caret.index("^") : caret.rindex("^") + 1] == "strin"


def test_the_mark_stands_below_its_place_behind_wide_characters(shop):
    (shop / "proto" / "shop.proto").write_text(
        'syntax = "proto3";\nmessage Order { /* 漢字 */ strin id = 1; }\n'
    )

    _, source, caret, *_ = eskit("gen", cwd=shop).err.splitlines()

    wide = 2  # characters that take two cells each
    assert caret.index("^") == source.index("strin") + wide


def test_every_problem_is_shown(shop):
    fields = "".join(f"  strin f{number} = {number};\n" for number in range(1, 31))
    (shop / "proto" / "shop.proto").write_text(
        f'syntax = "proto3";\nmessage Order {{\n{fields}}}\n'
    )

    lines = eskit("gen", cwd=shop).err.splitlines()

    assert sum('"strin" is not defined.' in line for line in lines) == 30
    assert lines[-1] == "30 problems, nothing written"
