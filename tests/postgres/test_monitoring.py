"""The queries that docs/operations-postgresql.md gives to operators run, with a reader's rights."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, open_store
from eskit.postgres.url import parse_url
from eskit.store.postgres.roles import Roles, roles_script

PAGE = Path(__file__).parents[2] / "docs" / "operations-postgresql.md"
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def answers(store_url):
    """The rows that each query gives, by its first column, of a store with three events."""
    url = parse_url(store_url)
    roles = Roles(*(f"{url.schema}_{name}" for name in Roles._fields))
    with (
        open_store(store_url) as store,
        psycopg.connect(url.libpq, autocommit=True) as connection,
    ):
        for _ in range(3):
            store.append("A-1", [NewEvent(StringValue(value="a"))], expected_version=ANY)
        store.save_checkpoint("one", position=1, event_id=str(store.find_event(1).event_id))
        connection.execute(roles_script(url.schema, roles))
        connection.execute(f"SET search_path = {url.schema}")
        connection.execute(f"SET ROLE {roles.reader}")
        found = {}
        for query in QUERIES:
            cursor = connection.execute(query)
            columns = [column.name for column in cursor.description]
            found[columns[-1]] = [dict(zip(columns, row, strict=True)) for row in cursor]
        yield found
        connection.execute("RESET ROLE")
        for role in roles:
            connection.execute(f"DROP OWNED BY {role} CASCADE")
            connection.execute(f"DROP ROLE {role}")


def test_every_query_of_the_page_runs_and_says_what_the_page_says(answers):
    assert len(answers) == len(QUERIES) >= 8
    (log,) = answers["size"]
    assert log["head"] == 3
    (one,) = answers["unchanged_for"]
    assert (one["name"], one["behind"]) == ("one", 2)
    assert "events" in {row["relname"] for row in answers["last_autoanalyze"]}
    assert any(row["sessions"] for row in answers["allowed"])
    assert answers["bytes"] == []
    assert 0 <= answers["used"][0]["used"] < 1
