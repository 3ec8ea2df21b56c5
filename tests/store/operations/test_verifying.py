"""Verification: what is damaged, what is unknown, and what is fine."""

import re
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from eskit.domain.claims import claim
from eskit.domain.commands import Command
from eskit.domain.events import Metadata, NewEvent
from eskit.domain.streams import ANY
from eskit.errors import StoreDamaged, StoreError
from eskit.operations.erasing import erase
from eskit.operations.verifying import find_beyond_opening, verify
from eskit.store.open import open_store
from eskit.store.records import Checkpoint, Snapshot
from eskit.store.sqlite.schema import current_version, migration_statements
from eskit.testing.store_contract import number, text, texts
from tests.store.operations.damaging import empty_an_index, overwrite_root, seal

URL = "sqlite:///log.db"
FILE = Path("log.db")
SCHEMA = "".join(
    statement
    for version in range(1, current_version() + 1)
    for statement in migration_statements(version)
)


@pytest.fixture
def store():
    """Four events in three streams, two claims."""
    with open_store(URL) as store:
        store.append("Account-1", [text("first", claim("name", "a"))], expected_version=ANY)
        store.append("Account-2", [text("second", claim("name", "b"))], expected_version=ANY)
        store.append("Account-1", [number(3)], expected_version=ANY)
        store.for_tenant("acme").append("Order-1", texts("fourth"), expected_version=ANY)
        yield store


@pytest.fixture
def filled(store):
    """The same with something of everything beside the log."""
    command = Command(id="c1", fingerprint="Open")
    result = store.append("Account-1", [], expected_version=ANY, command=command)
    event = store.find_event(result.global_position)
    save_snapshot(store, "Account-1", 2, event.event_id)
    store.save_checkpoint("relay", position=3, event_id=event.event_id)
    erase(store.for_tenant("acme"), ["Order-1"], reason="asked", erased_by="dpo")
    return store


def execute(statement, *parameters):
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(FILE)) as connection, connection:
        connection.execute(statement, parameters)


def codes(verification):
    return [finding.code for finding in verification.findings]


def checkpoint(store, position, *, event_id=None, store_id=None):
    event = store.find_event(position)
    return Checkpoint(
        name="balances",
        store_id=store.store_id if store_id is None else store_id,
        position=position,
        event_id=event_id or (event.event_id if event else ""),
        updated_at=datetime(2030, 1, 1, tzinfo=UTC),
    )


def test_a_whole_store_is_ok(store):
    store.save_checkpoint("relay", position=2, event_id=store.find_event(2).event_id)
    reported = []

    found = verify(store, progress=reported.append)

    assert (found.verdict, found.findings) == ("ok", ())
    assert (found.events, found.streams, found.decoded, found.event_types) == (4, 3, 4, 2)
    assert (found.claims, found.checkpoints, found.erased, found.undecoded) == (2, 1, 0, 0)
    assert {progress.name for progress in reported} == {"storage", "log"}
    assert all(progress.done <= progress.total for progress in reported)


def test_an_empty_store_is_ok():
    with open_store(URL) as store:
        assert verify(store).verdict == "ok"


@pytest.mark.promise("verify-finds-damage")
def test_flipped_bytes_in_a_payload_are_found_where_they_are(store):
    raw = FILE.read_bytes() + Path("log.db-wal").read_bytes()
    assert raw.count(b"second") >= 1
    store.close()
    damaged = FILE.read_bytes().replace(b"\n\x06second", b"\n\xffsecond")
    FILE.write_bytes(damaged)

    with open_store(URL) as reopened:
        found = verify(reopened)

    assert found.verdict == "damaged"
    assert codes(found) == ["PAYLOAD_DAMAGED", "EVENT_CHANGED"]
    told = "The payload at 2 does not parse as google.protobuf.StringValue"
    assert found.findings[0].message == told
    assert {(f.position, f.stream) for f in found.findings} == {(2, "Account-2")}
    assert (found.decoded, found.undecoded) == (3, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = CAST(x'0a05' || 'wrong' AS BLOB) WHERE global_position = 2",
        """UPDATE events SET metadata = '{"principal_id":"eve"}' WHERE global_position = 2""",
    ],
)
@pytest.mark.promise("verify-finds-damage")
def test_an_event_that_was_changed_into_another_valid_one_is_found(store, statement):
    execute(statement)

    found = verify(store)

    assert (found.verdict, codes(found)) == ("damaged", ["EVENT_CHANGED"])
    assert (found.findings[0].position, found.findings[0].stream) == (2, "Account-2")
    assert found.decoded == 4


@pytest.mark.promise("verify-finds-damage")
def test_a_type_without_a_class_makes_the_verdict_unknown_and_is_listed_once(store):
    execute("UPDATE kinds SET event_type = 'gone.v1.Event' WHERE event_type LIKE '%StringValue'")
    seal(FILE)

    found = verify(store)

    assert found.verdict == "unknown"
    (finding,) = found.findings
    assert finding.code == "UNKNOWN_EVENT_TYPE"
    assert finding.position == 1
    assert "gone.v1.Event: 3 payloads were not decoded" in finding.message


def test_one_payload_without_a_class_is_one_payload(store):
    execute("UPDATE kinds SET event_type = 'gone.v1.Event' WHERE event_type LIKE '%Int64Value'")
    seal(FILE)

    (finding,) = verify(store).findings

    assert "1 payload was not decoded" in finding.message


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE streams SET name = 'Account-' WHERE name = 'Account-1'",
        "UPDATE streams SET name = 'Account-' || char(10) WHERE name = 'Account-1'",
        "UPDATE streams SET tenant = 'a/b' WHERE name = 'Account-1'",
        "UPDATE kinds SET event_type = 'a b' WHERE event_type LIKE '%Int64Value'",
    ],
)
def test_a_name_that_no_command_can_address_is_found(store, change):
    execute(change)
    seal(FILE)

    assert "NAME_INVALID" in codes(verify(store))


def test_damage_outweighs_what_is_unknown(store):
    execute("UPDATE kinds SET event_type = 'gone.v1.Event' WHERE category = 'Order'")
    execute("DELETE FROM claims WHERE value = 'a'")

    assert verify(store).verdict == "damaged"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM claims WHERE value = 'a'", "name 'a' is free; by the log it is held by"),
        ("UPDATE claims SET stream_id = 2 WHERE value = 'a'", "held by Account-2; by the log"),
        ("INSERT INTO claims VALUES ('', 'name', 'z', 1)", "by the log it is free"),
    ],
)
def test_claims_that_are_not_what_the_log_says_are_damage(store, statement, message):
    execute(statement)

    found = verify(store)

    assert (found.verdict, codes(found)) == ("damaged", ["CLAIMS_DIFFER"])
    assert message in found.findings[0].message
    assert found.findings[0].hint.endswith("eskit claim rebuild")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM events WHERE global_position = 1", "VERSIONS_NOT_CONTIGUOUS"),
        ("UPDATE events SET version = 5 WHERE global_position = 3", "VERSIONS_NOT_CONTIGUOUS"),
        ("UPDATE events SET recorded_at = 1 WHERE global_position = 3", "TIME_GOES_BACKWARDS"),
        ("UPDATE events SET metadata = '{' WHERE global_position = 3", "METADATA_DAMAGED"),
        ("UPDATE events SET event_id = x'00' WHERE global_position = 3", "METADATA_DAMAGED"),
        ("UPDATE events SET claims = '[1]' WHERE global_position = 3", "CLAIMS_DAMAGED"),
        (
            """UPDATE events SET claims = '[["claim","name","a"]]' WHERE global_position = 2""",
            "CLAIMS_CONFLICT",
        ),
        ("DELETE FROM streams WHERE name = 'Order-1'", "EVENTS_UNREADABLE"),
        ("DELETE FROM kinds WHERE category = 'Order'", "EVENTS_UNREADABLE"),
        ("INSERT INTO commands VALUES ('', 'c', 'f', 99, 0, 0, 0, x'', 0)", "STORAGE_DAMAGED"),
    ],
)
@pytest.mark.promise("verify-finds-damage")
def test_a_log_that_was_tampered_with_is_damaged(store, statement, code):
    execute(statement)

    found = verify(store)

    assert found.verdict == "damaged"
    assert code in codes(found)


def test_events_whose_order_was_changed_are_damage(store):
    execute("UPDATE events SET global_position = 100 WHERE global_position = 1")

    found = verify(store)

    assert found.verdict == "damaged"
    assert "VERSIONS_NOT_CONTIGUOUS" in codes(found)


def test_positions_that_do_not_grow_are_damage():
    with open_store("memory://") as store:
        store.append("Account-1", texts("a", "b"), expected_version=ANY)
        store._storage._log.rows.reverse()

        found = verify(store)

    assert found.verdict == "damaged"
    assert "POSITIONS_NOT_IN_ORDER" in codes(found)


def test_an_index_that_lost_an_entry_is_damage(store):
    empty_an_index(FILE)

    found = verify(store)

    assert found.verdict == "damaged"
    assert "STORAGE_DAMAGED" in codes(found)


def test_a_truncated_file_is_damaged_or_refused_and_nothing_is_written():
    with open_store(URL) as store:
        store.append("Account-1", texts(*["x" * 500] * 200), expected_version=ANY)
    whole = FILE.read_bytes()

    for size in range(8192, len(whole), 16384):
        FILE.write_bytes(whole[:size])
        try:
            with open_store(URL, create=False) as store:
                verdict = verify(store).verdict
        except StoreError as error:
            verdict = error.code

        assert verdict in {"damaged", "STORE_DAMAGED", "STORE_NOT_RECOGNISED"}
        assert FILE.read_bytes() == whole[:size]


def test_a_checkpoint_past_the_head_is_damage(store):
    store.save_checkpoint("relay", position=9, event_id="")

    found = verify(store)

    assert (found.verdict, codes(found)) == ("damaged", ["CHECKPOINT_PAST_HEAD"])


@pytest.mark.promise("lost-wal-is-noticed")
def test_a_deleted_wal_is_found_by_the_checkpoint_of_a_read_model(store):
    store.close()
    with open_store(URL) as reopened:
        reopened.append("Account-9", texts("lost"), expected_version=ANY)
        passed = checkpoint(reopened, 5)
        shutil.copy(FILE, "without-wal.db")

    with open_store("sqlite:///without-wal.db") as left:
        assert verify(left).verdict == "ok"
        past_the_head = verify(left, checkpoints=[passed])
        left.append("Account-9", texts("other"), expected_version=ANY)
        replaced = verify(left, checkpoints=[passed])

    assert (past_the_head.verdict, codes(past_the_head)) == ("damaged", ["CHECKPOINT_PAST_HEAD"])
    assert (replaced.verdict, codes(replaced)) == ("damaged", ["CHECKPOINT_EVENT_DIFFERS"])


def test_a_checkpoint_of_the_original_is_told_from_that_of_a_copy(store):
    found = verify(store, checkpoints=[checkpoint(store, 2, store_id="another")])

    assert (found.verdict, codes(found)) == ("ok", ["CHECKPOINT_OF_ANOTHER_STORE"])
    assert found.findings[0].severity == "warning"
    assert found.findings[0].hint.endswith("eskit project rebuild balances")


def test_what_the_relay_keeps_of_its_stream_is_no_place_in_the_log(store):
    store.save_checkpoint("relay-stream", position=4_711, event_id="2026-01-01T00:00:00Z")

    found = verify(store)

    assert (found.verdict, found.checkpoints) == ("ok", 0)


def test_erased_events_are_counted_apart(store):
    erase(store, ["Account-1"], reason="asked", erased_by="dpo")

    found = verify(store)

    assert found.verdict == "ok"
    assert (found.decoded, found.erased, found.erasures, found.claims) == (2, 2, 1, 1)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM erasures", "ERASURE_UNRECORDED"),
        ("UPDATE events SET data = x'0a' WHERE global_position = 3", "ERASURE_INCOMPLETE"),
        ("UPDATE events SET metadata = '' WHERE global_position = 3", "ERASURE_INCOMPLETE"),
    ],
)
def test_an_erasure_that_was_undone_is_damage(store, statement, code):
    erase(store, ["Account-1"], reason="asked", erased_by="dpo")
    execute(statement)

    found = verify(store)

    assert found.verdict == "damaged"
    assert code in codes(found)


def test_a_great_many_findings_are_counted_and_the_first_listed(store):
    store.append("Account-3", [number(1) for _ in range(100)], expected_version=ANY)
    execute("UPDATE events SET data = x'ff'")

    found = verify(store)

    assert found.found == 208
    assert len(found.findings) == 40


def test_metadata_with_a_key_that_looks_like_the_mark_is_not_an_erasure(store):
    marked = Metadata(custom={"erased": "true"})
    store.append("Account-5", [text("here", metadata=marked)], expected_version=ANY)

    (event,) = store.read_stream("Account-5")

    assert not event.erased
    assert verify(store).erased == 0


def test_verification_holds_up_no_writer(store):
    appended = []

    def append(_progress):
        if not appended:
            appended.append(store.append("Account-7", texts("late"), expected_version=ANY))

    found = verify(store, progress=append)

    assert (found.verdict, found.events, store.head_position()) == ("ok", 4, 5)


def test_a_recorded_schema_that_was_changed_is_damage(store):
    execute("UPDATE schemas SET files = x'0a'")

    found = verify(store)

    assert found.verdict == "damaged"
    assert set(codes(found)) == {"SCHEMA_DAMAGED"}


def test_what_cannot_be_read_makes_the_verdict_unknown(store):
    save_snapshot(store, "Account-1", 2, store.find_event(3).event_id)

    found = verify(store, progress=lambda _: store.close())

    assert (found.verdict, codes(found)) == ("unknown", ["NOT_READ"])
    assert "The snapshots could not be read" in found.findings[0].message


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("events SET recorded_at = 'x' WHERE global_position = 3", "recorded_at of the event at 3"),
        ("events SET recorded_at = 1 << 62", "events.recorded_at of the event at 1"),
        ("events SET metadata = x'00' WHERE global_position = 3", "metadata of the event at 3"),
        ("events SET version = 1.5 WHERE global_position = 3", "events.version of the event at 3"),
        ("events SET data = 'text' WHERE global_position = 3", "events.data of the event at 3"),
        ("kinds SET category = 'Xccount' WHERE kind_id = 1", "events.kind_id of the event at 1"),
        ("streams SET category = 'Xccount'", "streams.category of Account-1"),
        ("commands SET tenant = 'x'", "commands.tenant of c1"),
        ("commands SET global_position = 'x'", "commands.global_position of c1"),
        ("commands SET recorded_at = 1 << 62", "commands.recorded_at of c1"),
        ("checkpoints SET updated_at = 1 << 62", "checkpoints.updated_at of relay"),
        ("checkpoints SET position = 'x'", "checkpoints.position of relay"),
        ("erasures SET erased_at = 1 << 62", "erasures.erased_at of Order-1"),
        ("schemas SET files = 'text'", "schemas.files of "),
        ("event_schemas SET first_position = 'x'", "event_schemas.first_position of "),
        ("claims SET value = x'00' WHERE value = 'a'", "claims.value of name"),
    ],
)
@pytest.mark.promise("verify-finds-damage")
def test_a_value_that_cannot_have_been_recorded_is_damage(filled, change, where):
    execute(f"UPDATE {change}")

    found = verify(filled)

    assert found.verdict == "damaged"
    messages = [f.message for f in found.findings if f.code == "VALUE_DAMAGED"]
    assert any(where in message for message in messages), messages


def test_an_event_that_cannot_be_checked_keeps_no_other_from_being_checked(store):
    execute("UPDATE events SET recorded_at = 'x' WHERE global_position = 2")
    execute("UPDATE events SET metadata = '{' WHERE global_position = 4")

    found = verify(store)

    assert (found.verdict, found.events) == ("damaged", 4)
    (unchecked,) = [f for f in found.findings if f.code == "NOT_CHECKED"]
    assert (unchecked.position, unchecked.stream) == (2, "Account-2")
    assert "METADATA_DAMAGED" in codes(found)


def test_a_time_that_cannot_be_one_is_named_by_whoever_reads_it(filled):
    execute("UPDATE checkpoints SET updated_at = 1 << 62")
    execute("UPDATE events SET recorded_at = 1 << 62")

    for read in (filled.list_checkpoints, lambda: list(filled.list_streams())):
        with pytest.raises(StoreDamaged, match="is kept as a time"):
            read()


ANYTHING = ("'x'", "x'00'", "CAST(x'ff' AS TEXT)", "1 << 62", "-5", "1.5")


@pytest.mark.parametrize(
    "table", sorted(set(re.findall(r"CREATE TABLE (\w+)", SCHEMA)) - {"store"})
)
@pytest.mark.promise("verify-finds-damage")
def test_whatever_stands_in_a_row_verification_comes_to_a_verdict(filled, table):
    filled.close()
    whole = FILE.read_bytes()
    connection = sqlite3.connect(FILE)
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()

    for column, value in product(columns, ANYTHING):
        FILE.write_bytes(whole)
        with suppress(sqlite3.IntegrityError):  # what the table itself refuses
            execute(f"UPDATE {table} SET {column} = {value}")  # noqa: S608 - all of them
        with open_store(URL) as store:
            found = verify(store)

        assert found.verdict in {"ok", "damaged", "unknown"}
        assert all(finding.hint for finding in found.findings), found.findings
        assert not any("eskit store verify" in finding.hint for finding in found.findings)


@pytest.mark.parametrize("index", ["events_by_stream", "events_by_kind", "erasures_by_stream"])
@pytest.mark.promise("verify-finds-damage")
def test_a_missing_index_is_damage(store, index):
    execute(f"DROP INDEX {index}")

    found = verify(store)

    assert (found.verdict, codes(found)) == ("damaged", ["STORAGE_INCOMPLETE"])
    assert found.findings[0].message == f"The index {index} is missing"
    assert "eskit store export" in found.findings[0].hint


def test_a_table_that_is_declared_otherwise_is_damage(store):
    execute("ALTER TABLE checkpoints ADD COLUMN more TEXT")

    found = verify(store)

    assert (found.verdict, codes(found)) == ("damaged", ["STORAGE_INCOMPLETE"])
    assert "checkpoints is not declared as it was made" in found.findings[0].message


@pytest.mark.promise("verify-finds-damage")
def test_a_remembered_command_whose_event_is_gone_is_damage(filled):
    execute("DELETE FROM events WHERE global_position = 3")  # the last of its stream

    found = verify(filled)

    assert found.verdict == "damaged"
    (lost,) = [f for f in found.findings if f.code == "COMMAND_WITHOUT_EVENT"]
    assert (lost.position, lost.stream) == (3, "Account-1")
    assert lost.message == "Command 'c1' led to version 2 of Account-1 at 3, which is not there"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE global_position = 1",  # a gap, and the claim it made
        "DELETE FROM events WHERE global_position = 3",  # the end, which a command remembers
        "UPDATE events SET claims = '[1]' WHERE global_position = 1",
        "UPDATE events SET claims = claims || '[]' WHERE global_position = 1",
    ],
)
def test_claims_are_not_to_be_rebuilt_from_a_damaged_log(filled, statement):
    execute(statement)
    execute("DELETE FROM claims WHERE value = 'b'")

    found = verify(filled)

    assert "CLAIMS_DIFFER" in codes(found)
    assert not any("claim rebuild" in finding.hint for finding in found.findings)


def test_pages_that_cannot_be_read_are_one_finding_and_every_finding_has_a_hint(store):
    store.close()
    overwrite_root(FILE, "events")

    with open_store(URL) as damaged:
        found = verify(damaged)

    assert found.verdict == "damaged"
    (unread,) = [f for f in found.findings if f.code == "UNREADABLE"]
    assert unread.message.startswith("The pages of the file, the values, the log, ")
    assert all(finding.hint for finding in found.findings)


@pytest.mark.parametrize(
    "flipped", [b"CREATE TABLE ch\xe5ckpoints", b"CREATE TA\xc2LE checkpoints"]
)
def test_a_flipped_bit_in_the_schema_of_the_file_is_damage(store, flipped):
    store.close()
    FILE.write_bytes(FILE.read_bytes().replace(b"CREATE TABLE checkpoints", flipped))

    with pytest.raises(StoreDamaged, match="is damaged") as refused:
        open_store(URL)

    beyond = find_beyond_opening(refused.value)
    assert (beyond.verdict, codes(beyond)) == ("damaged", ["UNREADABLE"])


def test_a_type_that_no_module_defines_is_decoded_by_its_recorded_schema():
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="only_here.proto", package="a", syntax="proto3")
    file.message_type.add(name="Once").field.add(name="text", number=1, type=9, label=1)
    pool.Add(file)
    once = message_factory.GetMessageClass(pool.FindMessageTypeByName("a.Once"))
    with open_store(URL) as store:
        store.append("Account-1", [NewEvent(once(text="x"))], expected_version=ANY)
        whole = verify(store)
        execute("UPDATE events SET data = x'0a01ff'")
        damaged = verify(store)

    assert (whole.verdict, whole.decoded, whole.by_recorded_schema) == ("ok", 1, 1)
    assert (damaged.verdict, codes(damaged)) == ("damaged", ["PAYLOAD_DAMAGED", "EVENT_CHANGED"])


def save_snapshot(store, stream, version, event_id):
    made = Snapshot(
        stream=stream,
        tenant="",
        version=version,
        event_id=event_id,
        schema="s",
        fold_version=1,
        created_at=datetime(2030, 1, 1, tzinfo=UTC),
        checksum="c",
        state=b"",
    )
    return store.snapshots.save(made, keep=3)


def test_a_snapshot_that_the_log_led_to_is_fine(store):
    assert save_snapshot(store, "Account-1", 2, store.find_event(3).event_id)

    found = verify(store)

    assert (found.verdict, found.snapshots) == ("ok", 1)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE snapshots SET version = 9", "is ahead of its stream"),
        ("UPDATE snapshots SET event_id = randomblob(16)", "after another event"),
        (
            (
                "UPDATE events SET data = x'', claims = NULL, metadata = '{\"erased\":true}' "
                "WHERE global_position = 3"
            ),
            "outlived the erasure",
        ),
    ],
)
def test_a_snapshot_that_the_log_did_not_lead_to_is_damage(store, statement, problem):
    assert save_snapshot(store, "Account-1", 2, store.find_event(3).event_id)
    execute(statement)

    found = verify(store)

    assert found.verdict == "damaged"
    (snapshot,) = [f for f in found.findings if f.code == "SNAPSHOT_DIFFERS"]
    assert problem in snapshot.message
    assert snapshot.stream == "Account-1"
