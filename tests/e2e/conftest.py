"""Processes of a test, ended with it, and the stores that a scenario runs on."""

from __future__ import annotations

import pytest

from tests.support.postgres import new_store, server_url
from tests.support.running import launcher

launch = pytest.fixture(launcher)
postgres = pytest.fixture(scope="session")(server_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def use_store(request):
    """Let a new bank keep its events in the store of this run of the test."""

    def use(project):
        if request.param == "sqlite":
            return
        settings = project / "pyproject.toml"
        text = settings.read_text(encoding="utf-8")
        line = 'store = "sqlite:///bank.db"'
        assert line in text
        url = new_store(request.getfixturevalue("postgres"))
        settings.write_text(text.replace(line, f'store = "{url}"'), encoding="utf-8")

    return use
