"""The bank, scaffolded and generated, with its application imported into this process."""

from __future__ import annotations

import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from eskit.codegen.generate import generate
from eskit.domain.claims import claim
from eskit.scaffold.project import new_project


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("bank") / "dispatched_bank"
    new_project(root.name, template="bank", target=root).apply()
    package = root.name
    generate(
        proto_roots=[root / "proto"], output=root / package / "gen", app_name="dispatched_bank"
    )
    sys.path.insert(0, str(root))
    return SimpleNamespace(
        app=import_module(f"{package}.app").app,
        Account=import_module(f"{package}.domain.account").Account,
        upcasters=import_module(f"{package}.domain.upcasters").UPCASTERS,
        es=import_module(f"{package}.gen.account.v1.account_es"),
        pb=import_module(f"{package}.gen.account.v1.account_pb2"),
        claim=claim,
    )
