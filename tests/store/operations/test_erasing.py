"""Erasure for good: nothing of it is left in the files, in the fold or in a read model."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.claims import claim, release
from eskit.domain.commands import Command
from eskit.domain.events import Metadata, NewEvent, erased_metadata, is_erased
from eskit.domain.streams import ANY
from eskit.errors import EventErased, StoreUnavailable, StreamNotFound
from eskit.messaging.dead_letters import make_dead_letter
from eskit.messaging.subscriptions_store import add_dead_letter, list_dead_letters
from eskit.nats.headers import decode_event, encode_headers
from eskit.operations.erasing import erase
from eskit.operations.exporting import export_log
from eskit.operations.files import back_up
from eskit.operations.verifying import verify
from eskit.projections.engine import ProjectionEngine
from eskit.projections.projection import Projection
from eskit.sqlite import connections
from eskit.store.open import open_store
from eskit.store.replay import replay
from eskit.store.reports import no_progress
from eskit.store.repository import Repository
from eskit.testing.store_contract import text, texts
from tests.support.ledger import DepositedEvent, Ledger, OpenedEvent

URL = "sqlite:///log.db"
PERSON = "Zaphod-Beeblebrox"


@pytest.fixture
def careless(monkeypatch):
    """SQLite as it is built by default: what is deleted stays in free space."""
    real = connections.connect

    def connect(path, *, mode):
        connection = real(path, mode=mode)
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    for module in ("commits", "storage", "erase"):
        monkeypatch.setattr(f"eskit.store.sqlite.{module}.connect", connect)


def files_that_hold(secret):
    return [path.name for path in Path().iterdir() if secret.encode() in path.read_bytes()]


@pytest.mark.promise("erased-is-erased")
def test_nothing_of_an_erased_stream_is_left_in_the_files(careless):
    with open_store(URL) as store:
        for number in range(300):  # claims and commands move between pages
            name = f"{PERSON}-{number * 7919 % 300}"
            store.append(
                "Person-1",
                [
                    text(
                        f"{name} {'x' * (number * 40)}",
                        claim("name", name),
                        metadata=Metadata(principal_id=PERSON, custom={"who": PERSON}),
                    )
                ],
                expected_version=ANY,
                command=Command(id=f"c{number}", fingerprint="f", response=name.encode()),
            )
            store.append(
                f"Other-{number}", [text("y", claim("no", str(number)))], expected_version=0
            )
            if number % 3 == 0:
                store.append("Person-1", [text("", release("name", name))], expected_version=ANY)
        assert files_that_hold(PERSON)

        erase(store, ["Person-1"], reason="asked", erased_by="dpo")

        assert files_that_hold(PERSON) == []
        assert verify(store).verdict == "ok"
        assert store.find_claim("no", "299") == "Other-299"


@pytest.mark.promise("erased-is-erased")
def test_what_was_raised_on_an_erased_event_is_erased_with_it(careless):
    with open_store(URL) as store:
        for stream in ("Person-1", "Person-2"):
            store.append(stream, [text(PERSON)], expected_version=0)
        first, second = store.read_all()
        for event, who in ((first, PERSON), (second, "somebody else")):
            add_dead_letter(
                store, make_dead_letter("mails", event, ValueError(f"no address of {who}"), 3)
            )

        erase(store, ["Person-1"], reason="asked for", erased_by="ann")
        letters = list_dead_letters(store, "mails")
        erase(store, ["Person-2"], reason="asked for", erased_by="ann")

    assert [(letter.error, letter.traceback) for letter in letters[:1]] == [("erased", "")]
    assert "somebody else" in letters[1].error + letters[1].traceback
    assert files_that_hold(PERSON) == []
    assert files_that_hold("somebody else") == []


@pytest.mark.promise("erased-is-erased")
def test_while_somebody_reads_the_rest_is_not_called_done():
    with open_store(f"{URL}?busy_timeout=0.2") as store:
        store.append("Person-1", texts(PERSON), expected_version=ANY)
        reader = sqlite3.connect("log.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM events").fetchall()

        with pytest.raises(StoreUnavailable, match="may still be in log") as left:
            erase(store, ["Person-1"], reason="asked", erased_by="dpo")
        assert "Erase the stream again" in left.value.hint
        reader.execute("ROLLBACK")
        again = erase(store, ["Person-1"], reason="asked", erased_by="dpo")

        assert files_that_hold(PERSON) == []
        assert [erasure.events for erasure in again] == [0]
        reader.close()


@pytest.mark.promise("erased-is-erased")
def test_without_room_to_write_the_file_anew_the_rest_is_not_called_done(small_disk):
    path = small_disk / "log.db"
    with open_store(f"sqlite:///{path}") as store:
        store.append("Other-1", texts(*["x" * 1000] * 300), expected_version=ANY)
        store.append("Person-1", texts(PERSON), expected_version=ANY)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "hog").write_bytes(b"x" * (free - 200_000))

    with open_store(f"sqlite:///{path}") as store:
        with pytest.raises(StoreUnavailable, match="may still be in free space of log") as left:
            erase(store, ["Person-1"], reason="asked", erased_by="dpo")
        assert "disk is full" in left.value.message
        assert "run the erasure again" in left.value.hint
        assert next(store.read_stream("Person-1")).erased
        (small_disk / "hog").unlink()
        store.scrub()

    assert PERSON.encode() not in path.read_bytes()


@pytest.mark.promise("erased-is-erased")
def test_a_backup_and_an_export_of_an_erased_stream_hold_nothing_of_it():
    with open_store(URL) as store:
        store.append("Person-1", [text(PERSON, claim("name", PERSON))], expected_version=ANY)
        erase(store, ["Person-1"], reason="asked", erased_by="dpo")

        back_up(store, Path("backup.db"), progress=no_progress)
        export_log(store, Path("log.jsonl"))

        assert files_that_hold(PERSON) == []
        with open_store("sqlite:///backup.db") as copy:
            assert verify(copy).erased == 1


def test_erased_events_count_as_versions_and_change_no_state():
    with open_store("memory://") as store:
        store.append(
            "Ledger-l1",
            _events(OpenedEvent(owner="ann"), DepositedEvent(amount=5)),
            expected_version=0,
        )
        erase(store, ["Ledger-l1"], reason="asked", erased_by="dpo")
        store.append("Ledger-l1", _events(DepositedEvent(amount=7)), expected_version=2)

        ledger = Repository(store, Ledger).load("l1")
        steps = list(replay(store, Ledger, "Ledger-l1"))

    assert (ledger.version, ledger.state.owner, ledger.state.balance) == (3, "", 7)
    assert [step.version for step in steps] == [1, 2, 3]
    assert [bool(step.changes) for step in steps] == [False, False, True]


@pytest.mark.promise("erased-is-erased")
def test_projections_pass_over_erased_events():
    handled = []
    projection = Projection("names")
    projection.on(StringValue)(lambda event, _context: handled.append(event.value))
    with open_store("memory://") as store:
        store.append("Person-1", texts("gone"), expected_version=ANY)
        store.append("Person-2", texts("", "here"), expected_version=ANY)
        erase(store, ["Person-1"], reason="asked", erased_by="dpo")
        engine = ProjectionEngine(store, [projection], "memory://")
        (report,) = engine.run()
        engine.close()

    assert (report.events, handled) == (3, ["", "here"])


def test_an_erased_event_is_published_as_erased():
    with open_store("memory://") as store:
        store.append("Person-1", texts("gone"), expected_version=ANY)
        erase(store, ["Person-1"], reason="asked", erased_by="dpo")
        (event,) = store.read_all()

    headers = encode_headers(event, "/app/store")
    received = decode_event(headers, event.data)

    assert headers["ce-erased"] == "true"
    assert received == event
    with pytest.raises(EventErased):
        _ = received.message


def test_one_missing_stream_stops_all_of_them():
    with open_store("memory://") as store:
        store.append("Person-1", texts("here"), expected_version=ANY)

        with pytest.raises(StreamNotFound):
            erase(store, ["Person-1", "Person-2"], reason="asked", erased_by="dpo")

        assert [event.erased for event in store.read_all()] == [False]


def test_what_is_left_of_metadata_are_the_ids():
    ids = Metadata(correlation_id="cor", causation_id="cau", command_id="cmd")
    full = ids._replace(principal_id="ann", custom={"ip": "::1"}).to_json()

    left = erased_metadata(full)

    assert Metadata.from_json(left) == ids
    assert is_erased(left)
    assert is_erased(erased_metadata(""))
    assert not is_erased(full)


def _events(*messages):
    return [NewEvent(message) for message in messages]
