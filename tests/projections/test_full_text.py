"""Full-text search in a read model: the same answers after a rebuild, and nothing hidden."""

import sqlite3

import pytest

from eskit import Projection
from eskit.errors import MigrationInvalid
from tests.projections.conftest import rows
from tests.support.account_events import NoteAdded

STORED = "CREATE VIRTUAL TABLE notes USING fts5 (text);"
CONTENTLESS = "CREATE VIRTUAL TABLE notes USING fts5 (text, content='');"
WITHOUT_SIZES = "CREATE VIRTUAL TABLE notes USING fts5 (text, content='', columnsize=0);"
WITHOUT_DETAIL = "CREATE VIRTUAL TABLE notes USING fts5 (text, content='', detail=none);"
STEMMING = (
    "CREATE VIRTUAL TABLE notes USING fts5 (text, content='', tokenize='porter', prefix='2');"
)
EXTERNAL = (
    "CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT);"
    "CREATE VIRTUAL TABLE notes USING fts5 (text, content='docs', content_rowid='id');"
)
OLDER = "CREATE VIRTUAL TABLE notes USING fts4 (text);"
OLDER_CONTENTLESS = 'CREATE VIRTUAL TABLE notes USING fts4 (content="", text);'
OLDEST = "CREATE VIRTUAL TABLE notes USING fts3 (text);"
KINDS = {
    "stored": STORED,
    "contentless": CONTENTLESS,
    "without sizes": WITHOUT_SIZES,
    "without detail": WITHOUT_DETAIL,
    "stemming": STEMMING,
    "external": EXTERNAL,
    "fts4": OLDER,
    "fts4 contentless": OLDER_CONTENTLESS,
    "fts3": OLDEST,
}
FOXES = "SELECT rowid FROM notes WHERE notes MATCH 'fox' ORDER BY rowid"

pytestmark = pytest.mark.sqlite_only


def searching(folder, sql, *, name="search"):
    migrations = folder / f"migrations-{name}"
    migrations.mkdir(exist_ok=True)
    (migrations / "0001_search.sql").write_text(sql)
    search = Projection(name, migrations=migrations)

    @search.on(NoteAdded)
    def noted(event, context):
        position = context.event.global_position
        if "CREATE TABLE docs" in sql:
            context.db.execute("INSERT INTO docs VALUES (?, ?)", (position, event.text))
        context.db.execute("INSERT INTO notes (rowid, text) VALUES (?, ?)", (position, event.text))

    return search


@pytest.fixture
def engine_for(engine_of, append, tmp_path):
    """An engine over a search in what three notes say, which has run."""
    texts = ("the quick fox", "a lazy dog", "one fox and another fox")
    append(*(NoteAdded(text=text) for text in texts))

    def make(sql):
        engine = engine_of(searching(tmp_path, sql))
        engine.run()
        return engine

    return make


def change(folder, *statements):
    connection = sqlite3.connect(folder / "read.db")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.promise("search-is-rebuilt")
def test_a_rebuilt_search_gives_the_same_answers(engine_for, append, kind):
    engine = engine_for(KINDS[kind])
    before = rows(engine, FOXES)

    engine.rebuild("search")

    assert rows(engine, FOXES) == before == [(1,), (3,)]
    assert engine.diff("search").equal
    append(NoteAdded(text="the fox again"))
    engine.run()
    assert rows(engine, FOXES) == [(1,), (3,), (4,)]
    assert engine.diff("search").equal


@pytest.mark.parametrize("kind", KINDS)
def test_events_that_come_during_the_rebuild_are_found_as_well(engine_for, append, kind):
    engine = engine_for(KINDS[kind])
    come = []

    def more(_):
        if not come:
            come.append(append(NoteAdded(text="a late fox")))

    engine.rebuild("search", progress=more)

    assert rows(engine, FOXES) == [(1,), (3,), (4,)]
    assert engine.diff("search").equal


@pytest.mark.promise("search-is-rebuilt")
def test_settings_made_in_a_migration_outlast_a_rebuild(engine_for):
    settings = (
        "INSERT INTO notes (notes, rank) VALUES ('pgsz', 512);"
        "INSERT INTO notes (notes, rank) VALUES ('automerge', 2);"
        "INSERT INTO notes (notes, rank) VALUES ('rank', 'bm25(7.0)');"
    )
    engine = engine_for(STORED + settings)
    ranked = "SELECT rowid, rank FROM notes WHERE notes MATCH 'fox' ORDER BY rank"
    config, before = rows(engine, "SELECT * FROM notes_config"), rows(engine, ranked)

    engine.rebuild("search")

    assert rows(engine, "SELECT * FROM notes_config") == config
    assert rows(engine, ranked) == before
    assert ("pgsz", 512) in config


@pytest.mark.parametrize(
    "sql",
    [
        STORED + "CREATE VIRTUAL TABLE words USING fts5vocab('notes', 'row');",
        OLDER + "CREATE VIRTUAL TABLE words USING fts4aux(notes);",
    ],
    ids=["fts5vocab", "fts4aux"],
)
def test_a_table_that_shows_the_words_of_another_is_made_again(engine_for, sql):
    engine = engine_for(sql)
    before = rows(engine, "SELECT * FROM words ORDER BY 1, 2")

    engine.rebuild("search")

    assert rows(engine, "SELECT * FROM words ORDER BY 1, 2") == before
    assert len(before) >= 8
    assert engine.diff("search").equal


@pytest.mark.parametrize(
    ("sql", "lie", "problem"),
    [
        (STORED, "INSERT INTO notes VALUES ('more')", "has other words in its index"),
        (CONTENTLESS, "INSERT INTO notes (rowid, text) VALUES (9, 'x')", "has other words"),
        (
            CONTENTLESS,
            "INSERT INTO notes (notes, rowid, text) VALUES ('delete', 2, 'a lazy dog')",
            "has other words in its index",
        ),
        (
            EXTERNAL,
            "INSERT INTO notes (rowid, text) VALUES (2, 'not what the table says')",
            "has other words in its index",
        ),
        (OLDER, "INSERT INTO notes VALUES ('more')", "has other words in its index"),
        (
            STORED,
            "INSERT INTO notes (notes, rank) VALUES ('pgsz', 512)",
            "has other settings",
        ),
        (STORED, "DROP TABLE notes", "is missing"),
    ],
)
@pytest.mark.promise("search-is-rebuilt")
def test_an_index_that_lies_is_seen(engine_for, tmp_path, sql, lie, problem):
    engine = engine_for(sql)
    assert engine.diff("search").equal

    change(tmp_path, lie)
    found = {table.table: table.problem for table in engine.diff("search").tables}

    assert found["notes"].startswith(problem)
    engine.rebuild("search")
    assert engine.diff("search").equal


def test_a_word_that_moved_within_its_text_is_seen(engine_for, tmp_path):
    engine = engine_for(CONTENTLESS)

    change(
        tmp_path,
        "INSERT INTO notes (notes, rowid, text) VALUES ('delete', 2, 'a lazy dog')",
        "INSERT INTO notes (rowid, text) VALUES (2, 'lazy a dog')",
    )

    assert not engine.diff("search").equal


def test_a_spatial_index_gives_the_same_answers(engine_of, append, tmp_path):
    migrations = tmp_path / "migrations-places"
    migrations.mkdir()
    (migrations / "0001_places.sql").write_text(
        "CREATE VIRTUAL TABLE places USING rtree (id, low, high, +name TEXT);"
    )
    places = Projection("places", migrations=migrations)

    @places.on(NoteAdded)
    def noted(event, context):
        position = context.event.global_position
        context.db.execute(
            "INSERT INTO places VALUES (?, ?, ?, ?)", (position, position, position, event.text)
        )

    append(*(NoteAdded(text=f"place {number}") for number in range(200)))
    engine = engine_of(places)
    try:
        engine.run()
    except MigrationInvalid:
        pytest.skip("this SQLite has no rtree")
    near = "SELECT id, name FROM places WHERE low > 50 AND high < 60 ORDER BY id"
    before = rows(engine, near)

    engine.rebuild("places")

    assert rows(engine, near) == before
    assert len(before) == 9
    assert engine.diff("places").equal


def test_a_module_that_no_rebuild_knows_is_refused_by_name(engine_of, tmp_path):
    unknown = searching(tmp_path, "CREATE VIRTUAL TABLE notes USING dbstat_of_others (x);")
    with pytest.raises(MigrationInvalid, match="dbstat_of_others"):  # SQLite does not know it
        engine_of(unknown).run()
    known_to_sqlite = searching(
        tmp_path, "CREATE VIRTUAL TABLE notes USING fts3tokenize ('simple');", name="tokens"
    )

    engine_of(known_to_sqlite).run()
