"""A PostgreSQL server for the tests that copy from or into one; it starts when one asks."""

from __future__ import annotations

import itertools

import pytest

from tests.support.postgres import new_store, server_url

postgres = pytest.fixture(scope="session")(server_url)
"""The URL of the server."""

_numbers = itertools.count(1)


@pytest.fixture
def new_url(request, tmp_path):
    """Makes URLs of stores that are not there yet, by the scheme."""

    def make(scheme: str) -> str:
        number = next(_numbers)
        if scheme == "postgresql":
            return new_store(request.getfixturevalue("postgres"))
        return (
            f"memory://copy-{number}" if scheme == "memory" else f"sqlite:///{tmp_path}/{number}.db"
        )

    return make
