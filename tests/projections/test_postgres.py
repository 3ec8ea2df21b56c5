"""Read models in PostgreSQL, where they are another thing than a file."""

from __future__ import annotations

import contextlib
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from eskit import PostgresDatabase, Projection, open_store
from eskit.errors import InvalidArgument, MigrationInvalid, ProjectionFailed
from eskit.postgres.connection import connect
from eskit.postgres.url import parse_url
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from eskit.projections.opening import default_read_models_url, open_read_models
from eskit.projections.policy import FailurePolicy
from tests.projections.conftest import rows, until
from tests.projections.test_following import following
from tests.support.account_events import Counted, NoteAdded
from tests.support.postgres import new_store


@pytest.fixture
def url(postgres) -> str:
    return new_store(postgres)


@pytest.fixture
def engine_of(store, url):
    engines = []

    def make(*projections, **options):
        engines.append(ProjectionEngine(store, projections, url, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def db(url):
    """What a handler is given, with a table `words`, inside a transaction."""
    with closing(open_read_models(url)) as models, closing(models.open()) as model:
        with model.transaction():
            model.db.execute("CREATE TABLE words (word TEXT PRIMARY KEY, n INTEGER)")
        with model.transaction():
            yield model.db
            model.flush()


def declare(folder: Path, handle, **policy) -> Projection[PostgresDatabase]:
    """A projection with a table `words`, whose handler writes as it likes."""
    migrations = folder / "migrations-words"
    migrations.mkdir()
    (migrations / "1_words.sql").write_text(
        "CREATE TABLE words (word TEXT PRIMARY KEY, n INTEGER);"
    )
    words = Projection[PostgresDatabase](
        "words", migrations=migrations, on_failure=FailurePolicy(retries=0, **policy)
    )
    words.on(Counted)(handle)
    return words


def test_statements_wait_until_somebody_asks(db, url):
    db.execute("INSERT INTO words VALUES (%s, %s)", ("a", 1))
    db.executemany("INSERT INTO words VALUES (%(word)s, %(n)s)", [{"word": "b", "n": 2}])
    with connect(parse_url(url)) as other:
        asked = (
            "SELECT state, query FROM pg_stat_activity WHERE application_name LIKE 'eskit read%'"
        )
        sent = [query for _, query in other.execute(asked).fetchall() if "INSERT" in query]
    changed = db.execute("UPDATE words SET n = n + 1 WHERE word LIKE %s || '%%'", ("a",))

    assert sent == []
    assert changed.rowcount == 1
    found = db.execute("SELECT word, n FROM words ORDER BY word")
    assert [column[0] for column in found.description] == ["word", "n"]
    assert (found.fetchone(), found.fetchall(), found.fetchone()) == (("a", 2), [("b", 2)], None)
    assert db.query("SELECT n, word FROM words WHERE n = %(n)s AND word = 'b'", {"n": 2}) == [
        {"n": 2, "word": "b"}
    ]


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT %s", ()),
        ("SELECT %s, %s", ("a",)),
        ("SELECT %(a)s, %s", ("a",)),
        ("SELECT 5 % 2 = %s", (1,)),
        ("SELECT %(a)s", ("a",)),
        ("SELECT %s", {"a": 1}),
    ],
)
def test_parameters_that_do_not_fit_are_refused(db, sql, parameters):
    with pytest.raises((psycopg.ProgrammingError, TypeError)):
        db.execute(sql, parameters)


@pytest.mark.parametrize(
    "sql", ["COMMIT", "/* now */ Rollback", "-- so\nBEGIN", "SAVEPOINT a", "COPY words TO STDOUT"]
)
def test_what_would_end_the_transaction_or_hang_is_refused(db, sql):
    with pytest.raises(InvalidArgument, match="in a handler or query"):
        db.execute(sql)


def test_more_statements_than_are_kept_prepared(db):
    for _ in range(3):
        for number in range(250):  # each with a text of its own
            sql = f"INSERT INTO words VALUES (%s, {number}) ON CONFLICT DO NOTHING"  # noqa: S608
            db.execute(sql, (f"w{number}",))

    assert db.execute("SELECT count(*), sum(n) FROM words").fetchone() == (250, sum(range(250)))


def test_an_error_is_of_the_event_that_made_it_whatever_is_sent_with_it(
    engine_of, append, tmp_path
):
    def handle(event, context):
        context.db.execute("INSERT INTO words VALUES (%s, %s)", (event.key, event.amount))

    append(*(Counted(key=key) for key in ("a", "b", "a", "c")))
    engine = engine_of(declare(tmp_path, handle))

    with pytest.raises(ProjectionFailed, match=r"stopped before 3 .*UniqueViolation"):
        engine.run()

    assert rows(engine, "SELECT word FROM words ORDER BY word") == [("a",), ("b",)]
    assert engine.status()[0].position == 2


def test_an_error_that_a_handler_swallows_stops_before_its_event(engine_of, append, tmp_path):
    def handle(event, context):
        with contextlib.suppress(psycopg.Error):
            assert context.db.execute("INSERT INTO words VALUES (%s, 1)", (event.key,)).rowcount

    append(*(Counted(key=key) for key in ("a", "b", "a", "c")))
    engine = engine_of(declare(tmp_path, handle, then="set_aside_event"))

    engine.run()

    assert [letter.position for letter in engine.dead_letters("words")] == [3]
    assert rows(engine, "SELECT word FROM words ORDER BY word") == [("a",), ("b",), ("c",)]


def test_an_error_inside_a_transaction_of_its_own_can_be_caught(engine_of, append, tmp_path):
    def handle(event, context):
        try:
            with context.db.transaction():
                context.db.execute("INSERT INTO words VALUES (%s, 1)", (event.key,))
        except psycopg.errors.UniqueViolation:
            context.db.execute("UPDATE words SET n = n + 1 WHERE word = %s", (event.key,))

    append(*(Counted(key=key) for key in ("a", "b", "a", "a")))
    engine = engine_of(declare(tmp_path, handle))

    assert engine.run()[0].events == 4
    assert rows(engine, "SELECT * FROM words ORDER BY word") == [("a", 3), ("b", 1)]
    assert engine.diff("words").equal


def test_an_effect_of_an_event_whose_statement_fails_is_not_called(engine_of, append, tmp_path):
    def handle(event, context):
        context.db.execute("INSERT INTO words VALUES (%s, 1)", (event.key,))
        context.once("mail", call)

    CALLED.clear()
    append(Counted(key="a"), Counted(key="a"))
    engine = engine_of(declare(tmp_path, handle))

    with pytest.raises(ProjectionFailed, match="stopped before 2"):
        engine.run()

    assert CALLED == ["called"]


CALLED: list[str] = []


def call() -> None:
    CALLED.append("called")


def end_sessions(url: str) -> int:
    """End every session of the read models, as a failover does."""
    with connect(parse_url(url)) as other:
        ended = other.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE application_name LIKE 'eskit read%' AND pid <> pg_backend_pid()"
        ).fetchone()
    return ended[0] if ended else 0


@pytest.mark.promise("projections-are-exactly-once")
def test_sessions_that_are_ended_at_any_moment_double_and_lose_nothing(
    engine_of, append, counts, url
):
    engine = engine_of(counts)
    append(Counted(key="a", amount=1))
    with following(engine, limits=BatchLimits(events=20)):
        for reached in range(0, 1500, 100):
            append(*(Counted(key="a", amount=1) for _ in range(100)))
            until(lambda reached=reached: engine_position(engine) > reached)
            end_sessions(url)
        until(lambda: engine_position(engine) == 1501)

    assert rows(engine, "SELECT amount FROM counts") == [(1501,)]
    assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT position) FROM counts_seen") == [
        (1501, 1501)
    ]


def engine_position(engine) -> int:
    with contextlib.suppress(Exception):
        return engine.checkpoints()[0].position
    return 0


def test_who_loses_the_lock_loses_the_transaction(engine_of, append, tmp_path, url):
    def handle(event, context):
        context.db.execute("INSERT INTO words VALUES (%s, 1)", (event.key,))
        if not ended:
            ended.append(end_sessions(url))

    ended: list[int] = []
    append(Counted(key="a"), NoteAdded(), Counted(key="b"))
    engine = engine_of(declare(tmp_path, handle))

    with following(engine):
        until(lambda: engine_position(engine) == 3)

    assert ended
    assert ended[0] >= 1
    assert rows(engine, "SELECT word FROM words ORDER BY word") == [("a",), ("b",)]
    assert engine.status()[0].failures == ()


def test_the_schema_of_an_event_store_is_refused(postgres, counts):
    url = new_store(postgres)
    with open_store(url) as store:
        engine = ProjectionEngine(store, [counts], url)
        with pytest.raises(InvalidArgument, match="the schema of an event store"):
            engine.run()
        engine.close()


def test_rows_lie_beside_the_store_by_default():
    store = "postgresql://me:secret@db/bank?schema=bank&command_ttl_days=5&sslmode=require"

    assert default_read_models_url(store) == (
        "postgresql://me:secret@db/bank?sslmode=require&schema=bank_read"
    )
    assert default_read_models_url("postgresql:///bank").endswith("?schema=eskit_read")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE public.elsewhere (x INTEGER);",
        "CREATE TABLE mine (x INTEGER); COMMIT;",
        """CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE mine (x INTEGER) SERVER s;""",
    ],
)
def test_migrations_that_no_rebuild_can_run_again_are_refused(engine_of, tmp_path, sql):
    (tmp_path / "1_mine.sql").write_text(sql)
    engine = engine_of(Projection("mine", migrations=tmp_path))

    with pytest.raises(MigrationInvalid):
        engine.run()

    (tmp_path / "1_mine.sql").write_text(
        "CREATE TABLE mine (x INTEGER);\n"
        "CREATE FUNCTION doubled(x INTEGER) RETURNS INTEGER LANGUAGE plpgsql AS $$\n"
        "BEGIN /* COMMIT; */ RETURN x * 2; END; $$;\n"
        "CREATE FUNCTION tripled(x INTEGER) RETURNS INTEGER BEGIN ATOMIC SELECT x * 3; END;\n"
        "CREATE VIEW doubles AS SELECT doubled(x) AS x, '; COMMIT;' AS text FROM mine;\n"
    )
    engine.run()
    assert engine.rebuild("mine").events == 0
    assert rows(engine, "SELECT * FROM doubles") == []
