"""Three roles: the owner changes all, the writer appends and keeps places, the reader reads."""

from __future__ import annotations

import subprocess
from urllib.parse import urlsplit

import psycopg
import pytest

from eskit.domain.claims import claim
from eskit.domain.commands import Command
from eskit.domain.streams import ANY
from eskit.errors import ProjectError, StoreError, StoreUnavailable
from eskit.operations.claims import rebuild_claims
from eskit.operations.erasing import erase
from eskit.operations.exporting import export_log
from eskit.operations.importing import import_log
from eskit.operations.verifying import verify
from eskit.postgres.errors import ROLES_HINT
from eskit.postgres.server import find_binaries
from eskit.postgres.url import parse_url
from eskit.store.eventstore import EventStore
from eskit.store.open import locate, open_store
from eskit.store.postgres.roles import Roles, roles_script
from eskit.store.records import ClaimRow, CommandRow, Snapshot
from eskit.store.reports import no_progress
from eskit.testing.store_contract import EventStoreContract, SettableClock, text, texts
from tests.support.running import eskit as run

PASSWORD = "s3cr3t-of-the-role"  # noqa: S105 - of roles of the test


@pytest.fixture
def roles(store_url):
    """Three roles of the store at `store_url`, which is not there yet, and gone with the test."""
    schema = parse_url(store_url).schema
    named = Roles(f"{schema}_owner", f"{schema}_writer", f"{schema}_reader")
    with psycopg.connect(parse_url(store_url).libpq, autocommit=True) as admin:
        admin.execute(roles_script(schema, named))
        for role in named:
            admin.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        yield named
        for role in named:
            admin.execute(f"DROP OWNED BY {role} CASCADE")
            admin.execute(f"DROP ROLE {role}")


def as_role(url: str, role: str) -> str:
    """The same store, for somebody else."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def owner(store_url, roles):
    return as_role(store_url, roles.owner)


@pytest.fixture
def writer(store_url, roles):
    return as_role(store_url, roles.writer)


@pytest.fixture
def reader(store_url, roles):
    return as_role(store_url, roles.reader)


@pytest.fixture
def clock():
    return SettableClock()


class TestTheWriterDoesAllOfDailyUse(EventStoreContract):
    @pytest.fixture
    def store(self, clock, owner, writer):
        open_store(owner).close()
        with EventStore(locate(writer).open(create=False, clock=clock), clock=clock) as store:
            yield store

    # These erase or prune, which is the owner's.
    test_the_store_counts_what_it_holds = None
    test_a_snapshot_does_not_outlive_the_erasure_of_its_stream = None
    test_a_command_id_is_free_again_when_its_record_was_pruned = None
    test_an_erased_event_keeps_its_id = None


def fill(url):
    """A store with one of everything; the log as it is."""
    with open_store(url) as store:
        store.append(
            "Account-1",
            [text("a", claim("name", "x"))],
            expected_version=ANY,
            command=Command(id="c-1", fingerprint="f", response=b"r"),
        )
        store.append("Account-1", texts("b", "c"), expected_version=ANY)
        store.save_record("kind", "key", "value", expected_revision=0)
        store.save_checkpoint("one", position=3, event_id=str(store.find_event(3).event_id))


def as_admin(url, statement):
    """Do what no operation of eskit does, in the schema of a store."""
    parsed = parse_url(url)
    with psycopg.connect(parsed.libpq, autocommit=True) as connection:
        connection.execute(f"SET search_path = {parsed.schema}")
        connection.execute(statement)


def contents(url):
    """All that a store keeps."""
    with open_store(url) as store, store.view() as view:
        rows = [list(view.rows(kind)) for kind in (ClaimRow, CommandRow, Snapshot)]
        return (list(view.events()), rows, store.list_checkpoints(), store.list_records("kind"))


def prune(store):
    """Forget commands whatever their age, as `prune_commands` does with old ones."""
    with store.view(exclusive=True) as view:
        view.drop(list(view.rows(CommandRow)))


OPERATIONS = {
    "erase": lambda store: erase(store, ["Account-1"], erased_by="ann", reason="r"),
    "prune": prune,
    "rebuild claims": rebuild_claims,
    "scrub": lambda store: store.scrub(),
}


@pytest.mark.promise("roles-have-their-rights-alone")
@pytest.mark.parametrize("role", ["writer", "reader"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_the_owners_is_refused_to_others_and_nothing_is_half_done(
    owner, role, name, request
):
    fill(owner)
    if name == "rebuild claims":
        lose_a_claim(owner)
    before = contents(owner)

    with (
        open_store(request.getfixturevalue(role), create=False) as store,
        pytest.raises(StoreUnavailable) as refused,
    ):
        OPERATIONS[name](store)

    assert "does not let its user do that: " in refused.value.message
    assert refused.value.hint == ROLES_HINT
    assert PASSWORD not in refused.value.message
    assert contents(owner) == before
    with open_store(owner) as store:
        OPERATIONS[name](store)


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_a_migration_is_the_owners(owner, role, request):
    fill(owner)

    with pytest.raises(StoreUnavailable, match="does not let its user do that") as refused:
        locate(request.getfixturevalue(role)).migrate(dry_run=False, progress=no_progress)

    assert refused.value.hint == ROLES_HINT


def lose_a_claim(url):
    with open_store(url) as store, store.view(exclusive=True) as view:
        view.drop(list(view.rows(ClaimRow)))


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_an_import_is_the_owners(owner, role, request, tmp_path):
    fill("sqlite:///other.db")
    with open_store("sqlite:///other.db") as other:
        export_log(other, tmp_path / "all.jsonl", progress=no_progress)
    open_store(owner).close()

    with pytest.raises(StoreUnavailable, match="does not let its user do that") as refused:
        import_log(tmp_path / "all.jsonl", request.getfixturevalue(role))

    assert refused.value.hint == ROLES_HINT
    assert contents(owner)[0] == []
    done = import_log(tmp_path / "all.jsonl", owner)
    assert contents(owner)[0] == contents("sqlite:///other.db")[0]
    with pytest.raises(ProjectError, match="is not empty") as full:
        import_log(tmp_path / "all.jsonl", owner)
    assert PASSWORD not in f"{done}{full.value.message}"


WRITES = {
    "append": lambda store: store.append("Account-1", texts("d"), expected_version=ANY),
    "checkpoint": lambda store: store.save_checkpoint("one", position=1, event_id="e"),
    "record": lambda store: store.save_record("kind", "new", "value", expected_revision=0),
    "update": lambda store: store.save_record("kind", "key", "other", expected_revision=1),
    "delete": lambda store: store.delete_record("kind", "key", expected_revision=1),
    "check": lambda store: store.check_writing(),
}


@pytest.mark.promise("roles-have-their-rights-alone")
@pytest.mark.parametrize("name", WRITES)
def test_a_reader_reads_all_and_changes_nothing(owner, reader, name):
    fill(owner)
    before = contents(owner)

    with open_store(reader, create=False) as store:
        assert [event.message.value for event in store.read_all()] == ["a", "b", "c"]
        assert store.find_claim("name", "x") == "Account-1"
        assert store.info().events == 3
        assert verify(store).verdict == "ok"
        with pytest.raises(StoreUnavailable) as refused:
            WRITES[name](store)

    assert "permission denied" in refused.value.message
    assert refused.value.hint == ROLES_HINT
    assert contents(reader) == before


def test_a_reader_sees_what_a_writer_appends(owner, writer, reader):
    fill(owner)
    with open_store(writer) as writing, open_store(reader) as reading:
        writing.append("Account-2", texts("d"), expected_version=ANY)

        assert reading.wait(3, 30.0)
        assert reading.head_position() == 4


def test_a_writer_has_locks_and_says_who_it_is_to_whoever_reads(owner, writer, reader):
    fill(owner)
    with open_store(writer) as writing, open_store(reader) as reading:
        lock = writing.lock("relay")

        assert lock.acquire()
        lock.write("a writer")

        assert reading.lock("relay").find_note() == "a writer"
        lock.release()


STATEMENTS = [
    "INSERT INTO events SELECT * FROM events",
    "UPDATE events SET data = ''",
    "DELETE FROM events",
    "TRUNCATE events",
    "UPDATE store SET value = 'x'",
    "DELETE FROM commands",
    "DELETE FROM records",
    "INSERT INTO checkpoints VALUES ('x', 'x', 1, 'x', 1)",
    "DROP TABLE events",
    "ALTER TABLE events ADD COLUMN x int",
    "CREATE TABLE x (n int)",
    "CREATE FUNCTION event_checksum() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION touch() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
]


@pytest.mark.promise("roles-have-their-rights-alone")
@pytest.mark.parametrize("role", ["writer", "reader"])
def test_no_statement_gets_around_the_functions(owner, role, request):
    fill(owner)
    url = parse_url(request.getfixturevalue(role))
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute(f"SET search_path = {url.schema}")
        for statement in STATEMENTS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


@pytest.mark.promise("roles-have-their-rights-alone")
def test_what_lies_in_a_writers_own_schemas_does_not_get_into_the_functions(
    postgres, owner, writer, roles
):
    """They run with the owner's rights: no table of the same name may stand in front."""
    fill(owner)
    url = parse_url(writer)
    with psycopg.connect(url.libpq, autocommit=True) as connection:
        connection.execute(f"CREATE TEMPORARY TABLE records (LIKE {url.schema}.records)")
        connection.execute(f"SET search_path = pg_temp, {url.schema}")
        connection.execute(f"SELECT {url.schema}.insert_record('kind', 'z', 'v', 1)")
        trapped = connection.execute("SELECT count(*) FROM pg_temp.records").fetchone()

    assert trapped == (0,)
    with open_store(owner) as store:
        assert store.find_record("kind", "z") is not None


def test_a_stranger_is_told_that_the_schema_is_closed_to_him(owner, store_url, roles):
    fill(owner)
    stranger = f"{roles.owner}_not"
    with psycopg.connect(parse_url(store_url).libpq, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {stranger} LOGIN PASSWORD '{PASSWORD}'")
        try:
            with pytest.raises(StoreUnavailable) as refused:
                open_store(as_role(store_url, stranger))
        finally:
            admin.execute(f"DROP ROLE {stranger}")

    assert "into the schema" in refused.value.message
    assert refused.value.hint == ROLES_HINT


def test_after_an_upgrade_a_writer_waits_for_the_owner_and_a_reader_does_not(owner, writer, reader):
    fill(owner)
    as_admin(owner, "UPDATE store SET value = 'older' WHERE key = 'functions'")

    with open_store(reader) as store:
        assert store.head_position() == 3
    with pytest.raises(StoreError) as refused:
        open_store(writer)
    assert (refused.value.code, "store migrate" in refused.value.hint) == ("SCHEMA_OUTDATED", True)

    locate(owner).migrate(dry_run=False, progress=no_progress)
    with open_store(writer) as store:
        assert store.append("Account-9", texts("d"), expected_version=ANY).version == 1


def test_a_store_that_is_there_changes_hands(store_url):
    """The script may be run before the store is made and after it, once and again."""
    fill(store_url)
    schema = parse_url(store_url).schema
    named = Roles(f"{schema} Owner", f"{schema}'s writer", f'{schema}"reader\\')
    with psycopg.connect(parse_url(store_url).libpq, autocommit=True) as admin:
        try:
            admin.execute(roles_script(schema, named))
            admin.execute(roles_script(schema, named))
            owners = admin.execute(
                "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class"
                " WHERE relnamespace = %s::regnamespace UNION"
                " SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc"
                " WHERE pronamespace = %s::regnamespace",
                (schema, schema),
            ).fetchall()
        finally:
            for role in named:
                name = psycopg.sql.Identifier(role)
                admin.execute(psycopg.sql.SQL("DROP OWNED BY {} CASCADE").format(name))
                admin.execute(psycopg.sql.SQL("DROP ROLE {}").format(name))

    assert owners == [(named.owner,)]


def test_psql_runs_the_script_as_it_is_shipped(postgres, store_url):
    schema = parse_url(store_url).schema
    names = {
        "schema": schema,
        "owner": f"{schema}_o",
        "writer": f"{schema}_w",
        "reader": f"{schema}_r",
    }
    script = locate.__globals__["__file__"].replace("open.py", "postgres/roles.sql")
    variables = [part for name, value in names.items() for part in ("-v", f"{name}={value}")]

    ran = subprocess.run(
        [find_binaries() / "psql", "-v", "ON_ERROR_STOP=1", *variables, "-f", script, postgres],
        capture_output=True,
        text=True,
        check=False,
    )

    with psycopg.connect(postgres, autocommit=True) as admin:
        found = admin.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE %s", (f"{schema}__",)
        ).fetchone()
        for name in list(names.values())[1:]:
            admin.execute(f"DROP OWNED BY {name} CASCADE")
            admin.execute(f"DROP ROLE {name}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert found == (3,)


def test_the_script_is_printed_for_postgresql_and_refused_for_a_file(tmp_path):
    url = f"postgresql://ann:{PASSWORD}@db.example.com/bank?schema=bank&password={PASSWORD}"

    printed = run("store", "roles", "--reader", "reports", "--store", url, cwd=tmp_path)
    as_json = run("store", "roles", "--store", url, "--json", "--debug", cwd=tmp_path)
    same = run("store", "roles", "--reader", "bank_owner", "--store", url, cwd=tmp_path)
    of_file = run("store", "roles", "--store", "sqlite:///bank.db", cwd=tmp_path)

    assert (printed.code, printed.err) == (0, "")
    assert "'bank_owner'" in printed.out
    assert "'reports'" in printed.out
    assert "'bank_reader'" not in printed.out
    assert as_json.json["data"]["writer"] == "bank_writer"
    assert (same.code, of_file.code) == (2, 2)
    assert "file_mode" in of_file.err
    for ran in (printed, as_json, same, of_file):
        assert PASSWORD not in f"{ran.out}{ran.err}"
