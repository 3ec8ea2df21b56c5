"""A PostgreSQL server for tests, and a store of its own for each of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

from eskit.postgres.server import PrivatePostgres

_numbers = itertools.count(1)


def server_url() -> Iterator[str]:
    """For a session fixture: ESKIT_TEST_POSTGRES names a server, or one is started."""
    given = os.environ.get("ESKIT_TEST_POSTGRES")
    if given:
        yield given
        return
    with PrivatePostgres(durable=False) as server:
        yield server.url()


def new_store(server: str) -> str:
    """The URL of a store that is not there yet."""
    mark = "&" if "?" in server else "?"
    return f"{server}{mark}schema={new_schema()}"


def new_schema() -> str:
    """A schema that is not there yet."""
    return f"test_{os.getpid()}_{next(_numbers)}"
