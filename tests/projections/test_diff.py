"""Do the live rows equal what their events make? Row by row, and without touching them."""

from __future__ import annotations

import re

import pytest

from eskit import Projection
from eskit.errors import MigrationInvalid, ProjectionFailed, ReadModelUnavailable, RebuildNeeded
from tests.projections.conftest import alter, counting, execute, rows
from tests.support.account_events import Counted


@pytest.fixture
def engine(engine_of, append, counts):
    append(*(Counted(key=f"k{i % 5}", amount=i) for i in range(50)))
    engine = engine_of(counts)
    engine.run()
    return engine


def differences(engine) -> dict:
    return {table.table: table for table in engine.diff("counts").tables}


def test_rows_that_following_made_are_the_ones_a_rebuild_makes(engine):
    difference = engine.diff("counts")

    assert difference.equal
    assert (difference.name, difference.position, difference.events) == ("counts", 50, 50)
    assert [(t.table, t.live_rows, t.rebuilt_rows) for t in difference.tables] == [
        ("counts", 5, 5),
        ("counts_seen", 50, 50),
    ]


def test_a_wrong_row_is_shown_as_it_is_and_as_it_should_be(engine, read_models):
    alter(read_models, "UPDATE counts SET amount = 0 WHERE key = 'k1'")

    table = differences(engine)["counts"]

    assert table.differing == 1
    (row,) = table.examples
    assert row.live == {"key": "k1", "amount": 0}
    assert row.rebuilt == {"key": "k1", "amount": sum(range(1, 50, 5))}


def test_a_missing_row_and_one_too_many_are_told_apart(engine, read_models):
    alter(read_models, "UPDATE counts SET key = 'kx' WHERE key = 'k1'")

    table = differences(engine)["counts"]

    assert table.differing == 2
    missing, surplus = table.examples
    assert (missing.live, missing.rebuilt["key"]) == (None, "k1")
    assert (surplus.live["key"], surplus.rebuilt) == ("kx", None)


def test_rows_without_a_key_are_counted(engine, read_models):
    alter(read_models, "INSERT INTO counts_seen VALUES (7)")

    table = differences(engine)["counts_seen"]

    assert not table.equal
    assert (table.live_rows, table.rebuilt_rows) == (51, 50)


@pytest.mark.sqlite_only
def test_null_equals_null_and_case_matters(engine_of, append, tmp_path, read_models):
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "1_words.sql").write_text(
        "CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT COLLATE NOCASE, more TEXT);"
    )
    words = Projection("words", migrations=folder)

    @words.on(Counted)
    def counted(event, context):
        execute(context.db, "INSERT INTO words (word) VALUES (?)", event.key)

    append(Counted(key="one"))
    engine = engine_of(words)
    engine.run()
    assert engine.diff("words").equal
    alter(read_models, "UPDATE words SET word = 'ONE'")

    (table,) = engine.diff("words").tables

    assert table.examples[0].live["word"] == "ONE"


def test_examples_are_bounded_and_the_count_is_not(engine, read_models):
    alter(read_models, "UPDATE counts SET amount = -1")

    (table, _) = engine.diff("counts", examples=2).tables

    assert (table.differing, len(table.examples)) == (5, 2)


def test_a_changed_handler_shows_as_drift(engine, engine_of, counts):
    doubling = Projection("counts", migrations=counts.migrations)

    @doubling.on(Counted)
    def counted(event, context):
        execute(
            context.db,
            "INSERT INTO counts VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET amount = counts.amount + excluded.amount",
            event.key,
            event.amount * 2,
        )

    difference = engine_of(doubling).diff("counts")

    assert [(t.table, t.differing) for t in difference.tables] == [
        ("counts", 5),
        ("counts_seen", 50),
    ]


def test_a_table_with_other_columns_says_so(engine, read_models):
    alter(read_models, "ALTER TABLE counts ADD COLUMN note TEXT")

    assert differences(engine)["counts"].problem == "has other columns"


def test_a_table_that_is_gone_says_so(engine, read_models):
    alter(read_models, "DROP TABLE counts_seen")

    assert differences(engine)["counts_seen"].problem == "is missing"


def test_new_events_are_left_to_the_run(engine, append):
    append(Counted(key="new"))

    assert engine.diff("counts").position == 50
    assert engine.status()[0].lag == 1


def test_rows_that_move_on_during_the_comparison_are_compared_where_they_are(engine, append):
    moved = []

    def follow(progress):
        if not moved:
            append(Counted(key="k0", amount=1), Counted(key="later", amount=1))
            moved.extend(engine.run())

    difference = engine.diff("counts", progress=follow)

    assert moved
    assert difference.equal
    assert (difference.position, difference.events) == (52, 52)


def test_nothing_is_changed_and_nothing_is_left(engine, tmp_path, read_models):
    alter(read_models, "UPDATE counts SET amount = 0")
    before = engine.checkpoints()

    engine.diff("counts")

    assert rows(engine, "SELECT DISTINCT amount FROM counts") == [(0,)]
    assert engine.checkpoints() == before
    assert not list(tmp_path.glob("*diff-counts*"))


def test_an_interrupted_rebuild_survives_a_diff(engine, tmp_path):
    def crash(progress):
        raise SystemExit

    with pytest.raises(SystemExit):
        engine.rebuild("counts", progress=crash)

    engine.diff("counts")

    assert engine.status()[0].rebuild_position == 50


def test_a_handler_error_ends_a_diff_and_is_no_failure_of_the_live_rows(engine, engine_of, counts):
    broken = Projection("counts", migrations=counts.migrations)
    broken.on(Counted)(lambda event, context: 1 / 0)

    with pytest.raises(ProjectionFailed, match="ZeroDivisionError"):
        engine_of(broken).diff("counts")

    assert engine.status()[0].state == "idle"


def test_what_never_ran_has_nothing_to_compare(engine_of, tmp_path):
    with pytest.raises(ReadModelUnavailable, match="no rows to compare yet"):
        engine_of(counting(tmp_path, "fresh")).diff("fresh")

    assert not (tmp_path / "read.db").exists()


def test_rows_of_another_version_are_not_compared(engine, engine_of, counts):
    renewed = counting(counts.migrations.parent, version=2)

    with pytest.raises(RebuildNeeded):
        engine_of(renewed).diff("counts")


KINDS = """
CREATE TABLE keyed (key TEXT PRIMARY KEY, amount);
CREATE TABLE seen (position);
CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT);
CREATE INDEX seen_positions ON seen (position);
CREATE VIEW totals AS SELECT count(*) AS number FROM seen;
CREATE TRIGGER counted AFTER INSERT ON seen BEGIN
    INSERT INTO numbered (key) VALUES ('of "' || NEW.position || '"');
END;
"""


@pytest.fixture
def kinds(engine_of, append, tmp_path):
    """An engine over a projection that has a table of each kind, and what is made of tables."""
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "1_kinds.sql").write_text(KINDS)
    projection = Projection("kinds", migrations=folder)

    @projection.on(Counted)
    def counted(event, context):
        execute(context.db, "INSERT INTO keyed VALUES (?, ?)", event.key, event.amount)
        execute(context.db, "INSERT INTO seen VALUES (?)", context.event.global_position)

    append(*(Counted(key=f"k{number}", amount=number) for number in range(5)))
    engine = engine_of(projection)
    engine.run()
    return engine


def found_in(engine):
    return {
        table.table: table.problem or table.differing
        for table in engine.diff("kinds").tables
        if not table.equal
    }


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("alteration", "found"),
    [
        ("DROP VIEW totals", {"totals": "is missing: a view that the migrations make"}),
        (
            "DROP VIEW totals; CREATE VIEW totals AS SELECT 7 AS number",
            {"totals": "is another view than the migrations make"},
        ),
        ("DROP TRIGGER counted", {"counted": "is missing: a trigger that the migrations make"}),
        (
            "DROP TRIGGER counted; CREATE TRIGGER counted AFTER INSERT ON seen BEGIN SELECT 1; END",
            {"counted": "is another trigger than the migrations make"},
        ),
        (
            "CREATE TRIGGER another AFTER DELETE ON keyed BEGIN DELETE FROM seen; END",
            {"another": "is a trigger that no migration makes"},
        ),
        (
            "DROP INDEX seen_positions",
            {"seen_positions": "is missing: an index that the migrations make"},
        ),
        (
            "DROP INDEX seen_positions; CREATE INDEX seen_positions ON seen (position DESC)",
            {"seen_positions": "is another index than the migrations make"},
        ),
        ("UPDATE keyed SET amount = 1.0 WHERE amount = 1", {"keyed": 1}),
        ("UPDATE keyed SET amount = '1' WHERE amount = 1", {"keyed": 1}),
        ("UPDATE seen SET position = 1.0 WHERE position = 1", {"seen": 2}),
        (
            "UPDATE keyed SET rowid = 77 WHERE amount = 1",
            {"keyed": "has its rows under other rowids"},
        ),
        (
            "UPDATE seen SET rowid = 77 WHERE position = 2",
            {"seen": "has its rows under other rowids"},
        ),
        (
            "UPDATE sqlite_sequence SET seq = 99",
            {"numbered": "counts on after 99, not after 5"},
        ),
        (
            "DELETE FROM sqlite_sequence",
            {"numbered": "counts on after 0, not after 5"},
        ),
        (
            "DROP TABLE keyed; CREATE TABLE keyed (key TEXT, amount)",
            {"keyed": "is declared otherwise than the migrations do"},
        ),
    ],
)
@pytest.mark.promise("search-is-rebuilt")
def test_what_was_altered_by_hand_is_seen_and_mended(kinds, read_models, alteration, found):
    assert found_in(kinds) == {}

    for statement in re.split(r"; (?=CREATE|INSERT)", alteration):
        alter(read_models, statement)

    assert found_in(kinds) == found
    if "another" not in found:
        kinds.rebuild("kinds")
        assert found_in(kinds) == {}


@pytest.mark.sqlite_only
def test_rows_that_a_retry_put_in_another_order_are_no_difference(kinds, read_models):
    alter(
        read_models,
        "INSERT INTO eskit_records (kind, projection, key, value) "
        "VALUES ('decision', 'kinds', '1', "
        """'{"action": "retry", "detail": "", "reason": "", "decided_by": "", """
        """"decided_at": 9000000000000000}')""",
    )
    alter(read_models, "UPDATE seen SET rowid = 77 WHERE position = 2")

    assert found_in(kinds) == {}


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE eskit_mine (x INTEGER);",
        "CREATE TABLE ESKIT_mine (x INTEGER);",
        "CREATE TABLE mine (x INTEGER); CREATE INDEX eskit_index ON mine (x);",
        "CREATE VIEW eskit_view AS SELECT 1;",
        "DROP TABLE eskit_records;",
    ],
)
def test_a_name_of_eskits_is_refused_by_name(engine_of, tmp_path, sql):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "1_mine.sql").write_text(sql)

    with pytest.raises(MigrationInvalid, match=r"make or drop '(?i:eskit)_\w+'") as refused:
        engine_of(Projection("mine", migrations=folder)).run()

    assert "Choose another name" in refused.value.hint
    (folder / "1_mine.sql").write_text("CREATE TABLE mine (x INTEGER);")
    engine_of(Projection("mine", migrations=folder)).run()


def test_a_name_of_eskits_that_was_applied_before_can_be_given_up(engine_of, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "1_mine.sql").write_text("CREATE TABLE eskit_mine (x INTEGER);")
    (folder / "2_mine.sql").write_text("ALTER TABLE eskit_mine RENAME TO mine;")

    engine = engine_of(Projection("mine", migrations=folder))
    engine.run()

    assert engine.diff("mine").equal
