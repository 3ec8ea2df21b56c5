"""The bank's generated code, made once for all tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.trees import generate_example, load


@dataclass(frozen=True)
class BankGen:
    """The generated package, imported."""

    path: Path
    pb: ModuleType
    es: ModuleType
    sdk: ModuleType


@pytest.fixture(scope="session")
def bank_gen(tmp_path_factory: pytest.TempPathFactory) -> BankGen:
    folder = tmp_path_factory.mktemp("bank")
    generate_example("bank", folder / "bank_of_tests")
    name = "bank_of_tests.gen"
    return BankGen(
        path=folder / "bank_of_tests" / "gen",
        pb=load(folder, f"{name}.account.v1.account_pb2"),
        es=load(folder, f"{name}.account.v1.account_es"),
        sdk=load(folder, f"{name}.sdk"),
    )
