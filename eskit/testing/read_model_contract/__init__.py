"""The contract of a read model as a test suite.

Subclass it in a test module and say how the read models are opened::

    class TestMyReadModels(ReadModelContract):
        @pytest.fixture
        def models(self, tmp_path):
            models = MyReadModels(tmp_path / "read.db")
            yield models
            models.close()

They must be empty. The suite writes and reads with plain SQL through `db.execute`, in tables of a
text and an integer column that migrations make.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eskit.projections.port import LiveReadModel, ReadModels
from eskit.testing.read_model_contract.keeping import BookkeepingContract, RowContract
from eskit.testing.read_model_contract.samples import Projections
from eskit.testing.read_model_contract.swapping import SwapContract


class ReadModelContract(RowContract, BookkeepingContract, SwapContract):
    """What every read model promises. Its tests are the specification."""

    @pytest.fixture
    def models(self) -> Iterator[ReadModels]:
        """Empty read models; every subclass has its own."""
        pytest.fail("Override the fixture `models` with one that opens empty read models.")

    @pytest.fixture
    def live(self, models: ReadModels) -> Iterator[LiveReadModel]:
        """The read models opened for writing."""
        live = models.open()
        yield live
        live.close()

    @pytest.fixture
    def projections(self, tmp_path: Path) -> Projections:
        """Makes projections."""
        return Projections(tmp_path)
