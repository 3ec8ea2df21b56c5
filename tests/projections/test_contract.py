"""The SQLite read model keeps the published contract, in a file and in memory."""

import pytest

from eskit.projections.sqlite.read_models import SqliteReadModels
from eskit.testing.read_model_contract import ReadModelContract


class TestSqliteReadModels(ReadModelContract):
    @pytest.fixture(params=["sqlite:///{}/read.db", "memory://"], ids=["file", "memory"])
    def models(self, request, tmp_path):
        models = SqliteReadModels(request.param.format(tmp_path))
        yield models
        models.close()
