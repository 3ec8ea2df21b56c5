"""The generated code as a project uses it: light, movable, and itself wherever it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eskit.codegen.generate import generate
from eskit.codegen.python.names import (
    RESERVED,
    event_method_name,
    method_name,
    module_parts,
    snake_case,
)
from eskit.codegen.reading import sources
from eskit.cqrs.services import QueryHandler
from eskit.domain.aggregate import Aggregate
from tests.support.trees import generate_example, generate_into, proto, write_protos

MONEY = 'syntax = "proto3";\npackage google.type;\nmessage Money { int64 units = 2; }\n'


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints that starts in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_aggregate_base_says_what_the_proto_says(bank_gen):
    kind = bank_gen.es.AccountAggregate.__aggregate__

    assert (kind.name, kind.id_field, kind.state) == ("Account", "account_id", bank_gen.pb.Account)
    assert [m.path for m in kind.commands] == [
        "account.v1.AccountCommandService/OpenAccount",
        "account.v1.AccountCommandService/Deposit",
        "account.v1.AccountCommandService/Withdraw",
        "account.v1.AccountCommandService/CloseAccount",
    ]
    assert bank_gen.es.AccountQueryHandler.__service__ is bank_gen.es.ACCOUNT_QUERY_SERVICE


def test_an_aggregate_with_a_missing_method_cannot_be_made(bank_gen):
    class Account(bank_gen.es.AccountAggregate):
        pass

    with pytest.raises(TypeError, match="close_account"):
        Account("acc-001")


def test_messages_pickle_and_know_their_module(tmp_path):
    generate_example("bank", tmp_path / "bank_of_tests")

    module = python(
        "import pickle\n"
        "from bank_of_tests.gen.account.v1 import account_pb2 as pb\n"
        "opened = pb.AccountOpenedEvent(account_id='acc-001', created_at=7)\n"
        "assert pickle.loads(pickle.dumps(opened)) == opened\n"
        "print(type(opened).__module__)",
        tmp_path,
    )

    assert module.strip() == "bank_of_tests.gen.account.v1.account_pb2"


def test_generated_code_is_imported_from_wherever_it_lies(tmp_path):
    generate_example("bank", tmp_path / "first")
    deep = tmp_path / "company" / "teams" / "money"
    shutil.copytree(tmp_path / "first" / "gen", deep / "generated")

    module = python(
        "from company.teams.money.generated.account.v1 import account_es as es\n"
        "from company.teams.money.generated.sdk import BankSdk\n"
        "print(es.EVENTS[0].__module__)",
        tmp_path,
    )

    assert module.strip() == "company.teams.money.generated.account.v1.account_pb2"


def test_somebody_elses_package_eventsourcing_is_left_alone(tmp_path):
    generate_example("bank", tmp_path / "app")
    other = tmp_path / "eventsourcing"
    other.mkdir()
    (other / "__init__.py").write_text("raise ImportError('not the package you want')\n")

    python("import app.gen.account.v1.account_es", tmp_path)


def test_a_generated_module_imports_nothing_heavy(tmp_path):
    """No network, no generator, and no dataclasses: those cost as much as all of eskit's own."""
    generate_example("bank", tmp_path / "app")

    loaded = python(
        "import sys, app.gen.account.v1.account_es, app.gen.sdk; print(*sys.modules)", tmp_path
    ).split()

    heavy = {"asyncio", "nats", "jinja2", "grpc_tools", "sqlite3", "typer", "rich", "copier"}
    assert heavy.isdisjoint(loaded)
    assert {"dataclasses", "inspect", "uuid"}.isdisjoint(loaded)


def test_identical_protos_may_be_generated_twice_and_used_side_by_side(tmp_path):
    generate_example("bank", tmp_path / "one")
    generate_example("bank", tmp_path / "two")

    same = python(
        "from one.gen.account.v1 import account_pb2 as a\n"
        "from two.gen.account.v1 import account_pb2 as b\n"
        "print(a.Account is b.Account)",
        tmp_path,
    )

    assert same.strip() == "True"


def test_protos_that_an_installed_package_brings_are_imported_from_it(tmp_path, monkeypatch):
    site = write_protos(tmp_path / "site", {"google/type/money.proto": MONEY})
    monkeypatch.setattr(sources, "installed_protos", lambda: [site])
    text = proto(
        "paid.v1", 'import "google/type/money.proto";\nmessage P { google.type.Money m = 1; }\n'
    )

    result = generate_into(tmp_path / "app", {"paid/v1/paid.proto": text})

    assert not [path for path in result.written if "money" in path.name]
    code = (tmp_path / "app/gen/paid/v1/paid_pb2.py").read_text()
    assert "\nfrom google.type import money_pb2 as " in code
    stub = (tmp_path / "app/gen/paid/v1/paid_pb2.pyi").read_text()
    assert "\nfrom google.type import money_pb2 as _money_pb2\n" in stub
    # As the package brings it: the proto, and beside it what protoc makes of it.
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{site}", f"--python_out={site}"]
    subprocess.run([*protoc, "google/type/money.proto"], check=True, timeout=60)
    units = python(
        f"import sys; sys.path.append({str(site)!r})\n"
        "from google.type.money_pb2 import Money\n"
        "from app.gen.paid.v1.paid_pb2 import P\n"
        "print(P(m=Money(units=7)).m.units)",
        tmp_path,
    )
    assert units.strip() == "7"


def test_protos_of_several_roots_import_each_other(tmp_path):
    mine = 'syntax = "proto3";\npackage m;\nimport "shared/b.proto";\nmessage A { s.B b = 1; }\n'
    shared = 'syntax = "proto3";\npackage s;\nmessage B { string text = 1; }\n'
    roots = [
        write_protos(tmp_path / "mine", {"mine/a.proto": mine}),
        write_protos(tmp_path / "elsewhere" / "protos", {"shared/b.proto": shared}),
    ]

    generate(proto_roots=roots, output=tmp_path / "gen", app_name="app")

    text = python("from gen.mine.a_pb2 import A; print(A(b={'text': 'x'}).b.text)", tmp_path)
    assert text.strip() == "x"


def test_a_proto_root_within_another_names_its_files_from_itself(tmp_path):
    outer = write_protos(
        tmp_path / "proto",
        {
            "a.proto": 'syntax = "proto3";\nimport "b.proto";\nmessage A { B b = 1; }\n',
            "vendor/b.proto": 'syntax = "proto3";\nmessage B {}\n',
        },
    )

    result = generate(
        proto_roots=[outer, outer / "vendor"], output=tmp_path / "gen", app_name="app"
    )

    assert [path.name for path in result.written if path.suffix == ".pyi"] == [
        "a_pb2.pyi",
        "b_pb2.pyi",
    ]


def test_protos_in_hidden_folders_are_those_of_others(tmp_path):
    text = 'syntax = "proto3";\npackage a;\nmessage A {}\n'
    root = write_protos(
        tmp_path, {"a/a.proto": text, ".venv/lib/b.proto": text, "a/.b/c.proto": text}
    )

    result = generate(proto_roots=[root], output=tmp_path / "gen", app_name="app")

    assert [path.name for path in result.written if path.suffix == ".pyi"] == ["a_pb2.pyi"]


def test_generation_leaves_import_hooks_and_standard_error_alone(tmp_path, capfd):
    finders = list(sys.meta_path)

    generate_example("bank", tmp_path / "app")

    assert sys.meta_path == finders
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("OpenAccount", "open_account"),
        ("IBANChanged", "iban_changed"),
        ("GetHTTP2Stream", "get_http2_stream"),
        ("already_snake", "already_snake"),
        ("A", "a"),
    ],
)
def test_names_in_snake_case(name, expected):
    assert snake_case(name) == expected


@pytest.mark.parametrize(
    ("rpc", "expected"),
    [("Import", "import_"), ("Version", "version_"), ("ID", "id_"), ("Emit", "emit_")],
)
def test_rpcs_called_like_keywords_or_base_names_get_an_underscore(rpc, expected):
    assert method_name(rpc) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("AccountOpenedEvent", "on_account_opened"),
        ("NoteAdded", "on_note_added"),
        ("AccountOpenedEventV1", "on_account_opened_event_v1"),
        ("Event", "on_event"),
    ],
)
def test_events_give_methods(event, expected):
    assert event_method_name(event) == expected


def test_every_public_name_of_the_bases_is_reserved():
    public = {name for base in (Aggregate, QueryHandler) for name in dir(base)}
    public |= {name for base in (Aggregate, QueryHandler) for name in base.__annotations__}

    assert {name for name in public if not name.startswith("_")} <= RESERVED


def test_a_dot_in_a_file_name_makes_a_folder_and_keywords_are_mended():
    assert module_parts("class/x-y.z.proto") == ("class_", "x_y", "z")
    assert module_parts("2024/if.proto") == ("_2024", "if")
