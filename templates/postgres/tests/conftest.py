"""A PostgreSQL server for the tests, and a schema of its own for each of them."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from eskit.testing import PrivatePostgres


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of the server: TEST_POSTGRES names one, or the tests start one of their own."""
    given = os.environ.get("TEST_POSTGRES")
    if given:
        yield given
        return
    with PrivatePostgres(durable=False) as server:
        yield server.url()


@pytest.fixture
def database(server: str) -> str:
    """The URL of a store or of read models that nobody has used."""
    return f"{server}?schema=test_{uuid4().hex}"
