"""Two versions of a package side by side: of one aggregate, and of services of none."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eskit import NO_STREAM, App, NewEvent, upcast
from eskit.codegen.generate import generate
from eskit.errors import SchemaInvalid
from eskit.store.repository import Repository
from tests.codegen.shapes import VERSIONS
from tests.support.trees import generate_into, load


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    generate_into(folder / "two_versions", VERSIONS)
    return folder


def module(project: Path, name: str) -> ModuleType:
    return load(project, f"two_versions.gen.{name}")


def account_class(project: Path) -> Any:
    es, v1, v2 = (
        module(project, name)
        for name in ("acct.v2.acct_es", "acct.v1.acct_pb2", "acct.v2.acct_pb2")
    )

    class Account(es.AccountAggregate):
        def make(self, command):
            self.emit(v2.MadeEvent(id=command.id))
            return v2.Made()

        def acct_v1_make(self, command):
            self.make(v2.Make(id=command.id))
            return v1.Made()

        def on_made(self, event):
            self.state.id = event.id

        def on_renamed(self, event): ...

    return Account


def test_an_event_of_the_old_package_is_read_as_that_of_the_new_one(project):
    account = account_class(project)
    v1, v2 = module(project, "acct.v1.acct_pb2"), module(project, "acct.v2.acct_pb2")

    @upcast(v1.MadeEvent, to=v2.MadeEvent)
    def from_v1(old: Any) -> Any:
        return v2.MadeEvent(id=f"{old.id}!")

    @upcast(v1.RenamedEvent, to=v1.Renamed)
    def renamed(old: Any) -> Any:
        return v1.Renamed()

    app = App("versions", aggregates=[account], upcasters=[from_v1, renamed])
    with app.open("memory://") as running:
        running.store.append(
            "Account-a",
            [NewEvent(v1.MadeEvent(id="a")), NewEvent(v1.RenamedEvent())],
            expected_version=NO_STREAM,
        )
        loaded = Repository(running.store, account, upcasters=app.upcasters).load("a")

    assert (loaded.state.id, loaded.version) == ("a!", 2)


def test_commands_of_both_packages_are_carried_out(project):
    v1, v2 = module(project, "acct.v1.acct_pb2"), module(project, "acct.v2.acct_pb2")
    kind = account_class(project)
    upcasters = [
        upcast(v1.MadeEvent, to=v2.MadeEvent)(lambda old: v2.MadeEvent()),
        upcast(v1.RenamedEvent, to=v1.Renamed)(lambda old: v1.Renamed()),
    ]
    app = App("versions", aggregates=[kind], upcasters=upcasters)

    with app.open("memory://") as running:
        old = running.execute(v1.Make(id="old"))
        new = running.execute(v2.Make(id="new"))
        made = [event.event_type for event in running.store.read_all()]

    assert (type(old), type(new)) == (v1.Made, v2.Made)
    assert made == ["acct.v2.MadeEvent"] * 2


def test_services_of_two_packages_have_an_attribute_each_in_the_sdk(project):
    sdk = module(project, "sdk").TwoVersionsSdk(None)

    assert sorted(vars(sdk)) == [
        "account",
        "acct_v1_audit",
        "acct_v1_report",
        "acct_v2_audit",
        "report",
    ]


def test_without_a_deprecation_two_events_of_one_name_are_refused(tmp_path):
    protos = {
        name: text.replace("  option deprecated = true;\n", "") for name, text in VERSIONS.items()
    }
    with pytest.raises(SchemaInvalid) as caught:
        generate_into(tmp_path / "refused", protos)

    found = {(d.code, d.message) for d in caught.value.diagnostics}
    assert (
        "NAME_CLASH",
        "Events acct.v1.Renamed and acct.v1.RenamedEvent would both be on_renamed of Account",
    ) in found
    assert {d.hint for d in caught.value.diagnostics} == {
        "Rename one of them, or mark the one that is not emitted any more as deprecated.",
        "Rename one of them, or mark the old one as deprecated.",
    }


def test_what_schema_check_advises_for_a_renamed_event_is_generated(tmp_path):
    """Declare it again, deprecated, and upcast it."""
    text = VERSIONS["acct/v2/acct.proto"].replace("MadeEvent", "Made2Event")
    again = """
message Made2 {
  option (eventsourcing.event) = {aggregate_name: "Account"};
  option deprecated = true;
}
"""
    (tmp_path / "proto").mkdir()
    (tmp_path / "proto" / "acct.proto").write_text(text.replace("acct.v", "again.v") + again)

    generate(proto_roots=[tmp_path / "proto"], output=tmp_path / "gen", app_name="again")

    assert "def on_again_v2_made2(" in (tmp_path / "gen" / "acct_es.py").read_text()
