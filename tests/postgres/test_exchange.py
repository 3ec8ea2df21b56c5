"""Tables built beside the live ones take their place at once, whatever others do with those."""

# ruff: noqa: S608 - schemas of these tests

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import psycopg
import pytest

from eskit.errors import MigrationInvalid, ProjectionBusy, ProjectionFailed
from eskit.projections.postgres.shadow import Fence, discard_shadow, shadow_schema
from eskit.projections.postgres.swap import Swap
from eskit.projections.postgres.tables import list_objects, own, quoted, search
from tests.support.postgres import new_schema

COUNTS = "CREATE TABLE counts (name text PRIMARY KEY, amount int NOT NULL)"


class Place:
    """A live schema with a projection `counts`, and the schema of its shadow rows."""

    def __init__(self, url):
        self.url = url
        self.live = new_schema()
        self.shadow = shadow_schema(self.live, "counts", "rebuild")
        self.connection = self.connect()
        self.connection.execute(
            f"CREATE SCHEMA {self.live}; CREATE TABLE {self.live}.eskit_gate (); "
            f"CREATE TABLE {self.live}.eskit_objects (projection text, kind text, name text, "
            "PRIMARY KEY (kind, name))"
        )

    def connect(self, *schemas):
        connection = psycopg.connect(self.url, autocommit=True)
        path = ", ".join(map(quoted, schemas or (self.live,)))
        connection.execute(f"SET search_path = {path}; SET lock_timeout = '8s'")
        return connection

    def make(self, *statements, projection="counts"):
        """Live tables."""
        before = set(list_objects(self.connection, self.live))
        for statement in statements:
            self.connection.execute(statement)
        with self.connection.transaction():
            made = set(list_objects(self.connection, self.live)) - before
            own(self.connection, self.live, projection, made)

    def build(self, *statements):
        """Shadow tables."""
        self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self.shadow)}")
        with self.connection.transaction():
            search(self.connection, self.shadow, self.live)
            for statement in statements:
                self.connection.execute(statement)

    def exchange(self, *statements, **options):
        """Put the shadow tables in the place of the live ones; `statements` come last."""
        connection = self.connect()
        work = Swap(
            connection=connection,
            live=self.live,
            shadow=self.shadow,
            projection="counts",
            **options,
        )
        try:
            work.analyze()
            with connection.transaction():
                work.begin()
                for statement in statements:
                    connection.execute(statement)
                work.finish()
        finally:
            connection.close()

    def rows(self, statement="SELECT * FROM counts ORDER BY 1"):
        return self.connection.execute(statement).fetchall()

    def is_waited_for(self, table):
        """Whether a session waits for a lock on it."""
        found = self.rows(
            "SELECT count(*) FROM pg_locks "
            f"WHERE NOT granted AND relation = '{self.live}.{table}'::regclass"
        )
        return found != [(0,)]

    @contextmanager
    def reader(self, *, first="LOCK TABLE eskit_gate IN ACCESS SHARE MODE"):
        """A transaction that reads one moment, as eskit's readers do."""
        connection = self.connect()
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if first:
            connection.execute(first)
        try:
            yield connection
        finally:
            connection.close()


@pytest.fixture
def place(postgres):
    place = Place(postgres)
    yield place
    place.connection.execute("SET client_min_messages = error")
    for schema in (place.live, place.shadow):
        place.connection.execute(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")
    place.connection.close()


@pytest.fixture
def role(place):
    """A user without rights."""
    name = f"reader_of_{place.live}"
    place.connection.execute(f"CREATE ROLE {name}")
    place.connection.execute(f"GRANT USAGE ON SCHEMA {place.live} TO {name}")
    yield name
    place.connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def until(condition, within=60.0):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not come"
        time.sleep(0.005)


def test_shadow_tables_take_the_place_of_the_live_ones_with_what_was_written_last(place):
    place.make(COUNTS, "CREATE TABLE other (n int)", "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")

    place.exchange("INSERT INTO counts VALUES ('newer', 3)")

    assert place.rows() == [("new", 2), ("newer", 3)]
    assert [found.name for found in list_objects(place.connection, place.live)] == ["counts"]
    assert list_objects(place.connection, place.shadow) == []


def test_everything_that_migrations_make_moves_and_works_there(place):
    kinds = [
        "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        "CREATE SEQUENCE tickets START 7",
        "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE RETURN n * 2",
        "CREATE TABLE parent (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood mood)",
        (
            "CREATE TABLE child (id bigserial, parent int REFERENCES parent, "
            "doubled int GENERATED ALWAYS AS (twice(parent)) STORED)"
        ),
        'CREATE INDEX "odd ""index" ON child (doubled)',
        "CREATE TABLE log (n int)",
        (
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO log VALUES (NEW.parent); RETURN NEW; END'"
        ),
        "CREATE TRIGGER noted AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION note()",
        "CREATE VIEW sums AS SELECT sum(doubled) AS doubled FROM child",
        "CREATE MATERIALIZED VIEW moods AS SELECT mood FROM parent",
        'CREATE TABLE "odd ""name" ("a b" text PRIMARY KEY, n int) PARTITION BY HASH ("a b")',
        'CREATE TABLE part PARTITION OF "odd ""name" FOR VALUES WITH (MODULUS 1, REMAINDER 0)',
    ]
    fill = [
        "INSERT INTO parent (mood) VALUES ('glad')",
        "INSERT INTO child (parent) SELECT id FROM parent",
        'INSERT INTO "odd ""name" VALUES (\'x\', 1)',
        "SELECT nextval('tickets')",
    ]
    place.make(*kinds)
    place.build(*kinds, *fill)
    before = [(found.kind, found.name) for found in list_objects(place.connection, place.live)]

    place.exchange()

    after = [(found.kind, found.name) for found in list_objects(place.connection, place.live)]
    assert after == before
    assert place.rows("SELECT * FROM sums") == [(2,)]
    for statement in fill[:2]:
        place.connection.execute(statement)
    assert place.rows("SELECT id, parent, doubled FROM child ORDER BY id") == [
        (1, 1, 2),
        (2, 1, 2),
        (3, 2, 4),
    ]
    assert place.rows("SELECT nextval('tickets'), (SELECT count(*) FROM log)") == [(8, 3)]
    assert place.rows('SELECT "a b" FROM part') == [("x",)]


@pytest.mark.promise("rebuilds-are-invisible")
def test_a_reader_that_began_before_an_exchange_sees_all_old_rows(place):
    """By its snapshot the new table has the rows that were committed before it, and no more."""
    place.make(COUNTS, "CREATE TABLE other (n int)", "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")

    with place.reader() as reader:
        reader.execute("SELECT * FROM other").fetchall()
        exchange = threading.Thread(target=place.exchange, args=["INSERT INTO other VALUES (1)"])
        exchange.start()
        until(lambda: place.is_waited_for("eskit_gate") or not exchange.is_alive())
        seen = reader.execute("SELECT name FROM counts").fetchall()
    exchange.join(60)

    assert seen == [("old",)]
    assert place.rows() == [("new", 2)]


@pytest.mark.promise("rebuilds-are-invisible")
def test_a_reader_that_begins_during_an_exchange_sees_all_new_rows(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")
    work = Swap(
        connection=place.connect(), live=place.live, shadow=place.shadow, projection="counts"
    )
    seen = []

    def read():
        with place.reader() as reader:
            seen.extend(reader.execute("SELECT * FROM counts ORDER BY 1").fetchall())

    with work.connection.transaction():
        work.begin()
        work.connection.execute("INSERT INTO counts VALUES ('newer', 3)")
        work.finish()
        reader = threading.Thread(target=read)
        reader.start()
        until(lambda: place.is_waited_for("eskit_gate"))
    reader.join(60)
    work.connection.close()

    assert seen == [("new", 2), ("newer", 3)]


@pytest.mark.promise("rebuilds-are-invisible")
def test_readers_get_through_while_an_exchange_waits_for_a_long_one(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")
    seen = []

    with place.reader() as long:
        long.execute("SELECT * FROM counts").fetchall()
        exchange = threading.Thread(target=place.exchange)
        exchange.start()
        for _ in range(3):
            until(lambda: place.is_waited_for("eskit_gate"))
            with place.reader() as other:
                seen += other.execute("SELECT name FROM counts").fetchall()
        assert exchange.is_alive()
    exchange.join(60)

    assert seen == [("old",)] * 3
    assert place.rows() == [("new", 2)]


def test_an_exchange_for_which_readers_leave_no_gap_names_them_and_can_be_repeated(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")

    with place.reader(first=None) as foreign:  # another program, which knows of no gate
        foreign.execute("SELECT * FROM counts").fetchall()
        pid = foreign.info.backend_pid
        with pytest.raises(ProjectionBusy, match=rf"processes {pid} of") as refused:
            place.exchange(patience=0.2)

    assert "eskit project rebuild counts" in refused.value.hint
    assert place.rows() == [("old", 1)]
    place.exchange()
    assert place.rows() == [("new", 2)]


def test_a_failure_after_the_exchange_leaves_the_old_tables(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")
    work = Swap(
        connection=place.connection, live=place.live, shadow=place.shadow, projection="counts"
    )

    def fail_late():
        with place.connection.transaction():
            work.begin()
            work.finish()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_late()

    assert place.rows() == [("old", 1)]
    place.exchange()
    assert place.rows() == [("new", 2)]


@pytest.mark.parametrize(
    "needs",
    [
        "CREATE VIEW {outside}.report AS SELECT sum(amount) FROM counts",
        "CREATE TABLE {outside}.notes (name text REFERENCES counts)",
        "CREATE PUBLICATION {outside} FOR TABLE counts",
        (
            "CREATE FUNCTION {outside}.total() RETURNS bigint BEGIN ATOMIC "
            "SELECT sum(amount) FROM counts; END"
        ),
    ],
    ids=["view", "foreign key", "publication", "function"],
)
def test_what_others_made_of_a_table_goes_on_and_shows_the_new_rows(place, needs):
    place.make(
        COUNTS,
        "CREATE TABLE seen (position int)",
        "INSERT INTO counts VALUES ('same', 1), ('changed', 1), ('gone', 1)",
        "INSERT INTO seen VALUES (1), (1), (2)",
    )
    place.build(
        COUNTS,
        "CREATE TABLE seen (position int)",
        "INSERT INTO counts VALUES ('same', 1), ('changed', 2), ('new', 3)",
        "INSERT INTO seen VALUES (1), (3)",
    )
    outside = f"outside_{place.live}"
    place.connection.execute(f"CREATE SCHEMA {outside}")
    place.connection.execute(needs.format(outside=outside))
    table = place.rows("SELECT 'counts'::regclass::oid")
    if "REFERENCES" in needs:
        place.connection.execute(f"INSERT INTO {outside}.notes VALUES ('same'), ('changed')")

    try:
        with place.reader() as long:  # nobody is waited for
            long.execute("SELECT * FROM counts").fetchall()
            place.exchange(patience=0)

        assert place.rows() == [("changed", 2), ("new", 3), ("same", 1)]
        assert place.rows("SELECT * FROM seen ORDER BY 1") == [(1,), (3,)]
        assert place.rows("SELECT 'counts'::regclass::oid") == table
        if "VIEW" in needs:
            assert place.rows(f"SELECT * FROM {outside}.report") == [(6,)]
    finally:
        place.connection.execute("SET client_min_messages = error")
        place.connection.execute(f"DROP PUBLICATION IF EXISTS {outside}")
        place.connection.execute(f"DROP SCHEMA {outside} CASCADE")


def test_a_view_that_somebody_makes_while_the_exchange_waits_is_kept(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")

    with place.reader():
        exchange = threading.Thread(target=place.exchange)
        exchange.start()
        until(lambda: place.is_waited_for("eskit_gate"))
        place.connection.execute("CREATE VIEW theirs AS SELECT * FROM counts")
    exchange.join(60)

    assert place.rows("SELECT * FROM theirs") == [("new", 2)]


def test_rows_are_exchanged_whatever_refers_to_what_and_without_running_triggers(place):
    tables = [
        "CREATE TYPE mood AS ENUM ('glad', 'sad')",
        "CREATE TABLE parent (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, best int, j json)",
        "CREATE TABLE moods (m mood PRIMARY KEY, before mood[])",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, rank int UNIQUE)",
        "ALTER TABLE parent ADD FOREIGN KEY (best) REFERENCES child",
        "CREATE TABLE log (n int)",
        (
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN INSERT INTO log VALUES (1); RETURN NULL; END'"
        ),
        "CREATE TRIGGER noted AFTER INSERT OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION note()",
    ]
    fill = (
        "INSERT INTO parent (j) VALUES ('{{}}'), ('[]'); INSERT INTO child VALUES {0};"
        "INSERT INTO moods VALUES ('glad', '{{sad,{1}}}')"
    )
    best = "UPDATE parent SET best = 1 WHERE id = 1"
    place.make(*tables, fill.format("(1, 1, 10), (2, 2, 20)", "glad"), best)
    place.build(*tables, fill.format("(1, 1, 20), (2, 2, 10), (3, 1, 30)", "sad"), best)
    place.build("INSERT INTO parent (j) VALUES (NULL); DELETE FROM parent WHERE id = 3")
    place.connection.execute("CREATE VIEW theirs AS SELECT * FROM child")

    place.exchange()

    assert place.rows("SELECT * FROM theirs ORDER BY id") == [(1, 1, 20), (2, 2, 10), (3, 1, 30)]
    assert place.rows("SELECT m, before FROM moods") == [("glad", "{sad,sad}")]
    assert place.rows("SELECT count(*) FROM log") == [(3,)]
    place.connection.execute("INSERT INTO parent (best) VALUES (3); INSERT INTO child VALUES (4)")
    assert place.rows("SELECT max(id) FROM parent") == [(4,)]
    assert place.rows("SELECT count(*) FROM log") == [(4,)]


def test_a_row_that_rows_of_others_refer_to_has_to_stay(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('needed', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")
    place.connection.execute("CREATE TABLE theirs (name text REFERENCES counts)")
    place.connection.execute("INSERT INTO theirs VALUES ('needed')")

    with pytest.raises(ProjectionFailed, match='on table "theirs"'):
        place.exchange()

    assert place.rows() == [("needed", 1)]


def test_rows_of_others_are_not_deleted_along(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('needed', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('needed', 2)")
    place.connection.execute(
        "CREATE TABLE theirs (name text REFERENCES counts ON DELETE CASCADE);"
        "INSERT INTO theirs VALUES ('needed')"
    )

    with pytest.raises(MigrationInvalid, match="theirs_name_fkey of theirs"):
        place.exchange()

    assert place.rows("SELECT * FROM theirs") == [("needed",)]


def test_tables_that_change_while_others_need_them_are_not_exchanged(place):
    place.make(COUNTS)
    place.build(COUNTS, "ALTER TABLE counts ADD COLUMN note text")
    place.connection.execute("CREATE VIEW theirs AS SELECT name FROM counts")

    with pytest.raises(MigrationInvalid, match=r"change, and .*view theirs needs them") as refused:
        place.exchange()

    assert refused.value.hint == "Drop it, rebuild, and create it again."
    place.connection.execute("DROP VIEW theirs")
    place.exchange()
    assert place.rows("SELECT name, note FROM counts") == []


def test_a_name_of_another_projection_or_of_nobody_is_refused(place):
    place.make("CREATE TABLE taken (n int)", projection="other")
    place.connection.execute("CREATE TABLE nobodys (n int)")

    for name, told in (("taken", "already belongs to 'other'"), ("nobodys", "no projection made")):
        place.build(f"CREATE TABLE {name} (n int)")
        with pytest.raises(MigrationInvalid, match=told):
            place.exchange()
        place.connection.execute(f"DROP TABLE {quoted(place.shadow)}.{name}")


def test_a_row_that_refers_to_one_that_is_not_there_is_not_exchanged(place):
    family = [
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    ]
    place.make(*family)
    place.build(*family)

    with pytest.raises(ProjectionFailed, match='on table "child"'):
        place.exchange("INSERT INTO child VALUES (7)")

    assert place.rows("SELECT * FROM child") == []


def test_grants_and_policies_are_those_of_the_old_table(place, role):
    tables = (
        COUNTS,
        "CREATE TABLE open (name text)",
        "CREATE VIEW top AS SELECT name FROM counts",
    )
    place.make(*tables)
    place.connection.execute(
        f"GRANT SELECT ON counts TO {role} WITH GRANT OPTION; GRANT SELECT ON top, open TO PUBLIC;"
        f"GRANT UPDATE (amount) ON counts TO {role};"
        "ALTER TABLE counts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        f"CREATE POLICY few ON counts FOR SELECT TO {role} USING "
        "(name IN (SELECT name FROM open));"
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {place.live} GRANT SELECT ON TABLES TO {role}"
    )
    rights = (
        "SELECT relname, relacl::text, relrowsecurity, relforcerowsecurity FROM pg_class "
        f"WHERE relnamespace = '{place.live}'::regnamespace AND relname IN ('counts', 'top') "
        "ORDER BY 1"
    )
    policies = (
        "SELECT policyname, permissive, roles::text, cmd, qual FROM pg_policies "
        f"WHERE schemaname = '{place.live}'"
    )
    place.build(*tables, "CREATE TABLE added (n int)")
    before = place.rows(rights), place.rows(policies)

    place.exchange(
        "INSERT INTO counts VALUES ('secret', 1), ('known', 1)", "INSERT INTO open VALUES ('known')"
    )

    assert (place.rows(rights), place.rows(policies)) == before
    place.connection.execute(f"SET ROLE {role}")
    assert place.rows("SELECT name FROM counts") == [("known",)]
    assert place.rows("SELECT * FROM added") == []
    place.connection.execute("RESET ROLE")


def test_a_prepared_statement_of_a_reader_that_names_its_columns_outlives_an_exchange(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "ALTER TABLE counts ADD COLUMN note text")
    reader = place.connect()
    named, starred = (
        lambda: reader.execute("SELECT name FROM counts", prepare=True).fetchall(),
        lambda: reader.execute("SELECT * FROM counts", prepare=True).fetchall(),
    )
    before = named(), starred()

    place.exchange("INSERT INTO counts VALUES ('new', 2)")

    assert before == ([("old",)], [("old", 1)])
    assert named() == [("new",)]
    # Hence eskit's readers prepare nothing.
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        starred()
    assert reader.execute("SELECT * FROM counts", prepare=False).fetchall() == [("new", 2, None)]
    reader.close()


def test_an_exchange_waits_for_a_vacuum_before_it_makes_readers_wait(place):
    place.make(COUNTS, "INSERT INTO counts VALUES ('old', 1)")
    place.build(COUNTS, "INSERT INTO counts VALUES ('new', 2)")
    vacuum = place.connect()

    with vacuum.transaction():
        vacuum.execute("LOCK TABLE counts IN SHARE UPDATE EXCLUSIVE MODE")
        exchange = threading.Thread(target=place.exchange)
        exchange.start()
        until(lambda: place.is_waited_for("counts"))
        with place.reader() as reader:
            assert reader.execute("SELECT name FROM counts").fetchall() == [("old",)]
    exchange.join(60)
    vacuum.close()

    assert place.rows() == [("new", 2)]


def write_fenced(connection, fence, *statements):
    with connection.transaction():
        fence.begin()
        for statement in statements:
            connection.execute(statement)
        fence.check("counts")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("INSERT INTO other VALUES (1)", "other"),
        ("UPDATE other SET n = 2", "other"),
        ("DELETE FROM other", "other"),
        ("TRUNCATE other", "other"),
        ("DROP TABLE IF EXISTS other", "other"),
        ("ALTER TABLE other ADD COLUMN m int", "other"),
        ("SELECT nextval('numbers')", "numbers"),
        ("CREATE TABLE {live}.extra (n int)", "extra"),
        ("UPDATE eskit_objects SET projection = 'mine'", "eskit_objects"),
    ],
)
def test_a_build_that_writes_to_tables_of_others_is_undone(place, statement, told):
    """The search path leads there, because the build has no such table."""
    place.make(
        "CREATE TABLE other (n int)",
        "INSERT INTO other VALUES (1)",
        "CREATE SEQUENCE numbers",
        projection="other",
    )
    place.build(COUNTS)
    build = place.connect(place.shadow, place.live)
    fence = Fence(build, live=place.live, own=place.shadow)

    with pytest.raises(ProjectionFailed, match=rf"wrote to {told}, "):
        write_fenced(
            build, fence, "INSERT INTO counts VALUES ('mine', 1)", statement.format(live=place.live)
        )

    assert place.rows("SELECT * FROM other") == [(1,)]
    assert build.execute("SELECT * FROM counts").fetchall() == []
    build.close()


def test_a_build_may_read_everything_and_do_anything_with_its_own(place):
    place.make("CREATE TABLE other (n int)", "INSERT INTO other VALUES (1)", projection="other")
    place.build(COUNTS, "CREATE TABLE old (n text)")
    build = place.connect(place.shadow, place.live)
    fence = Fence(build, live=place.live, own=place.shadow)

    write_fenced(
        build,
        fence,
        "INSERT INTO counts SELECT repeat('x', 9000), n FROM other FOR SHARE",
        "CREATE TEMPORARY TABLE scratch (n int) ON COMMIT DROP",
        "DROP TABLE old; CREATE TABLE fresh (n serial); INSERT INTO fresh VALUES (1)",
        "SAVEPOINT one; DELETE FROM other; ROLLBACK TO one",
    )

    assert build.execute("SELECT amount FROM counts").fetchall() == [(1,)]
    build.close()


def test_the_last_events_of_an_exchange_may_write_records_but_no_tables_of_others(place):
    place.make("CREATE TABLE other (n int)", projection="other")
    place.build(COUNTS)
    connection = place.connection
    fence = Fence(connection, live=place.live, own=place.shadow, records=True)

    write_fenced(
        connection, fence, f"INSERT INTO {place.live}.eskit_objects VALUES ('a', 'b', 'c')"
    )

    with pytest.raises(ProjectionFailed, match="wrote to other,"):
        write_fenced(connection, fence, "DELETE FROM other")


def test_what_a_transaction_wrote_before_the_fence_is_no_concern_of_it(place):
    place.make("CREATE SEQUENCE numbers")
    fence = Fence(place.connection, live=place.live, own=place.shadow)

    with place.connection.transaction():
        place.connection.execute("SELECT nextval('numbers')")
        fence.begin()
        fence.check("counts")


def test_shadow_rows_are_discarded_however_they_were_left(place):
    for _ in range(2):
        discard_shadow(place.connection, place.live, "counts", "rebuild")
        place.build(COUNTS, "CREATE VIEW broken AS SELECT * FROM counts")
    place.connection.execute(f"DROP TABLE {quoted(place.shadow)}.counts CASCADE")

    discard_shadow(place.connection, place.live, "counts", "rebuild")

    assert place.rows(f"SELECT to_regnamespace('{quoted(place.shadow)}')") == [(None,)]


def test_every_projection_and_purpose_has_a_schema_of_its_own_however_long_the_names_are():
    names = ["counts", "x" * 40, "x" * 39 + "y"]
    schemas = [
        shadow_schema(live, name, purpose)
        for live in ("eskit", "é" * 30)
        for name in names
        for purpose in ("rebuild", "diff", "estimate", "place", "gone")
    ]

    assert len(set(schemas)) == len(schemas)
    assert max(len(schema.encode()) for schema in schemas) <= 63
    assert schemas[0] == "eskit_rebuild_counts"
