"""The contract of a read model as a test suite.

Subclass it in a test module and say how the read models are opened::

    class TestMyReadModels(ReadModelContract):
        @pytest.fixture
        def models(self, tmp_path):
            models = MyReadModels(tmp_path / "read.db")
            yield models
            models.close()

They must be empty. The suite writes and reads in tables of a text and an integer column that
migrations make: with plain SQL through `db.execute`, unless `tables` says how else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from eskit.projections.port import LiveReadModel, ReadModels
from eskit.testing.read_model_contract.keeping import BookkeepingContract, RowContract
from eskit.testing.read_model_contract.samples import Samples, Tables
from eskit.testing.read_model_contract.swapping import SwapContract


class ReadModelContract(RowContract, BookkeepingContract, SwapContract):
    """What every read model promises. Its tests are the specification."""

    tables: ClassVar[Tables] = Tables()
    """How migrations and handlers write; in SQL unless a subclass has another language."""

    @pytest.fixture
    def models(self) -> Iterator[ReadModels[Any]]:
        """Empty read models; every subclass has its own."""
        pytest.fail("Override the fixture `models` with one that opens empty read models.")

    @pytest.fixture
    def live(self, models: ReadModels[Any]) -> Iterator[LiveReadModel[Any]]:
        """The read models opened for writing."""
        live = models.open()
        yield live
        live.close()

    @pytest.fixture
    def samples(self, tmp_path: Path) -> Samples:
        """Makes projections and their rows."""
        return Samples(tmp_path, self.tables)
