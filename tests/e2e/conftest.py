"""Processes of a test, ended with it, and the stores that a scenario runs on."""

from __future__ import annotations

import pytest

from tests.support.postgres import new_store, server_url
from tests.support.running import configure, launcher

launch = pytest.fixture(launcher)
postgres = pytest.fixture(scope="session")(server_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def use_store(request):
    """Let a new bank keep its events in the store of this run of the test."""

    def use(project):
        if request.param == "sqlite":
            return
        url = new_store(request.getfixturevalue("postgres"))
        configure(project, store=url, read_models="sqlite:///bank_read.db")

    return use
