"""A server for the tests of a process, and a schema of its own for each test."""

from __future__ import annotations

import pytest

from tests.support.postgres import new_store, server_url

postgres = pytest.fixture(scope="session")(server_url)
"""The URL of the server."""


@pytest.fixture
def store_url(postgres):
    """The URL of a store that is not there yet."""
    return new_store(postgres)
