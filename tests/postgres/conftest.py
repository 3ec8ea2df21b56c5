"""A server for the tests of a process, and a schema of its own for each test."""

from __future__ import annotations

import pytest

from tests.support.pgbouncer import pooled
from tests.support.postgres import new_store, server_url

postgres = pytest.fixture(scope="session")(server_url)
"""The URL of the server."""


@pytest.fixture
def store_url(postgres):
    """The URL of a store that is not there yet."""
    return new_store(postgres)


@pytest.fixture(scope="session")
def pooler(postgres):
    """The URL of a pooler in front of the server."""
    with pooled(postgres) as url:
        yield url


@pytest.fixture
def pooled_store_url(pooler):
    """The URL of a store that is not there yet, through the pooler."""
    return new_store(pooler)
