"""What differs between live tables and those that were built, as PostgreSQL sees it."""

# ruff: noqa: S608 - schemas of these tests

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from eskit.projections.postgres.comparison import compare_tables
from eskit.projections.postgres.shadow import Fence
from eskit.projections.postgres.tables import search
from tests.postgres.test_exchange import Place

KINDS = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad')",
    "CREATE TABLE keyed (key text PRIMARY KEY, amount numeric, at timestamptz, facts json, m mood)",
    "CREATE TABLE seen (position int)",
    "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text)",
    "CREATE INDEX seen_positions ON seen (position)",
    "CREATE SEQUENCE tickets",
    "CREATE VIEW totals AS SELECT count(*) AS number FROM seen",
    (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO numbered (key) VALUES (''seen''); RETURN NULL; END'"
    ),
    "CREATE TRIGGER noted AFTER INSERT ON seen FOR EACH ROW EXECUTE FUNCTION note()",
    (
        "INSERT INTO keyed VALUES "
        "('a', 1.0, '2024-02-29 12:00Z', '{\"n\": 1}', 'glad'), ('b', NULL, NULL, NULL, NULL)"
    ),
    "INSERT INTO seen VALUES (1), (2), (2)",
    "SELECT nextval('tickets')",
)


@pytest.fixture
def place(postgres):
    place = Place(postgres)
    place.make(*KINDS, projection="counts")
    place.build(*KINDS)
    yield place
    place.connection.execute("SET client_min_messages = error")
    place.connection.execute(
        f"DROP SCHEMA {place.live} CASCADE; DROP SCHEMA {place.shadow} CASCADE"
    )
    place.connection.close()


def compare(place, *, examples=5, in_order=True):
    fence = Fence(place.connection, live=place.live, own=place.shadow)
    with place.connection.transaction():
        fence.begin()
        search(place.connection, place.shadow, place.live)
        found = compare_tables(
            place.connection,
            "counts",
            live=place.live,
            shadow=place.shadow,
            examples=examples,
            in_order=in_order,
        )
        fence.check("counts")
    return found


def found_in(place, **options):
    return {
        table.table: table.problem or table.differing
        for table in compare(place, **options)
        if not table.equal
    }


def test_equal_tables_are_counted(place):
    place.make("CREATE TABLE others (n int)", projection="other")

    tables = compare(place)

    assert [(t.table, t.live_rows, t.rebuilt_rows, t.equal) for t in tables] == [
        ("keyed", 2, 2, True),
        ("numbered", 3, 3, True),
        ("seen", 3, 3, True),
    ]


@pytest.mark.parametrize(
    ("alteration", "found"),
    [
        ("UPDATE keyed SET amount = 1.00 WHERE key = 'a'", {"keyed": 1}),
        ("UPDATE keyed SET facts = '{\"n\":1}' WHERE key = 'a'", {"keyed": 1}),
        ("UPDATE keyed SET m = 'sad' WHERE key = 'b'", {"keyed": 1}),
        ("UPDATE keyed SET key = 'c' WHERE key = 'a'", {"keyed": 2}),
        ("UPDATE seen SET position = 3 WHERE position = 1", {"seen": 2}),
        ("DELETE FROM seen WHERE position = 2", {"seen": 2}),
        (
            (
                "ALTER TABLE seen DISABLE TRIGGER noted; INSERT INTO seen VALUES (2); "
                "ALTER TABLE seen ENABLE TRIGGER noted"
            ),
            {"seen": 1},
        ),
        ("DROP VIEW totals", {"totals": "is missing: a view that the migrations make"}),
        (
            "CREATE OR REPLACE VIEW totals AS SELECT 7::bigint AS number",
            {"totals": "is another view than the migrations make"},
        ),
        (
            "DROP TRIGGER noted ON seen",
            {"noted": "is missing: a trigger that the migrations make"},
        ),
        (
            "ALTER TABLE seen DISABLE TRIGGER noted",
            {"noted": "is another trigger than the migrations make"},
        ),
        (
            "CREATE TRIGGER another AFTER DELETE ON keyed FOR EACH ROW EXECUTE FUNCTION note()",
            {"another": "is a trigger that no migration makes"},
        ),
        (
            (
                "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN RETURN NULL; END'"
            ),
            {"note()": "is another function than the migrations make"},
        ),
        ("ALTER TYPE mood ADD VALUE 'calm'", {"mood": "is another type than the migrations make"}),
        (
            "DROP INDEX seen_positions",
            {"seen_positions": "is missing: an index that the migrations make"},
        ),
        (
            "DROP INDEX seen_positions; CREATE INDEX seen_positions ON seen (position DESC)",
            {"seen_positions": "is another index than the migrations make"},
        ),
        (
            "INSERT INTO numbered (key) VALUES ('x'); DELETE FROM numbered WHERE key = 'x'",
            {"numbered": "counts on after 4, not after 3"},
        ),
        ("SELECT nextval('tickets')", {"tickets": "counts on after 2, not after 1"}),
        ("ALTER TABLE seen ADD COLUMN note text", {"seen": "has other columns"}),
        (
            "ALTER TABLE seen ALTER position SET DEFAULT 7",
            {"seen": "is declared otherwise than the migrations do"},
        ),
        (
            "ALTER TABLE seen ADD CHECK (position > 0)",
            {"seen": "is declared otherwise than the migrations do"},
        ),
        (
            "DROP TABLE seen CASCADE",
            {"seen": "is missing", "totals": "is missing: a view that the migrations make"},
        ),
    ],
)
def test_what_was_altered_by_hand_is_seen(place, alteration, found):
    place.connection.execute(alteration)

    assert found_in(place) == found


def test_a_table_that_is_no_longer_made_says_so(place):
    place.make("CREATE TABLE former (n int)", projection="counts")
    with place.connection.transaction():
        place.connection.execute(f"UPDATE {place.live}.eskit_objects SET projection = 'counts'")
        place.connection.execute(
            f"INSERT INTO {place.live}.eskit_objects SELECT 'counts', 'table', relname FROM "
            f"pg_class WHERE relnamespace = '{place.live}'::regnamespace AND relkind = 'r' "
            "AND relname NOT LIKE 'eskit%' ON CONFLICT DO NOTHING"
        )

    assert found_in(place) == {"former": "is no longer made"}


def test_rows_are_shown_with_the_values_of_their_types_wrong_and_missing_ones_first(place):
    place.connection.execute(
        "INSERT INTO keyed (key) VALUES ('0'); DELETE FROM keyed WHERE key = 'b';"
        "UPDATE keyed SET amount = 2 WHERE key = 'a'"
    )

    (table, *_) = compare(place)
    (first, *_) = compare(place, examples=1)

    wrong, missing, surplus = table.examples
    assert (table.differing, first.differing, first.examples) == (3, 3, (wrong,))
    assert wrong.live == {**wrong.rebuilt, "amount": Decimal(2)}
    assert wrong.rebuilt == {
        "key": "a",
        "amount": Decimal("1.0"),
        "at": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "facts": {"n": 1},
        "m": "glad",
    }
    assert (missing.live, missing.rebuilt["key"]) == (None, "b")
    assert (surplus.live["key"], surplus.rebuilt) == ("0", None)


def test_rows_without_a_key_are_shown_singly(place):
    place.connection.execute("DELETE FROM seen WHERE position = 1; INSERT INTO seen VALUES (9)")

    found = {table.table: table for table in compare(place)}["seen"]

    assert found.differing == 2
    assert [(row.live, row.rebuilt) for row in found.examples] == [
        (None, {"position": 1}),
        ({"position": 9}, None),
    ]


def test_numbers_that_a_retry_has_used_are_no_difference_out_of_order(place):
    place.connection.execute("SELECT nextval('tickets'), nextval('numbered_id_seq')")

    assert set(found_in(place)) == {"tickets", "numbered"}
    assert found_in(place, in_order=False) == {}
