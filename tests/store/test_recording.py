"""A store keeps the schema of what it holds, from the first event of each type on."""

from __future__ import annotations

import threading

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit.domain.commands import Command
from eskit.domain.events import NewEvent
from eskit.domain.streams import ANY
from eskit.errors import UnknownEventType, VersionConflict
from eskit.schema.jsonmap import to_dict
from eskit.schema.recorded import schema_of
from eskit.store.decoding import EventDecoder
from eskit.store.memory import MemoryLog
from tests.support.schema_versions import event, message
from tests.support.stores import memory_store, sqlite_store

V1 = event("Sent", "string to = 1; int64 grams = 2;")
V2 = event("Sent", "string to = 1; string weight = 2;")
LATER = event("Sent", "string to = 1; int64 grams = 2; string by = 3;")


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request, tmp_path):
    """Opens the same log every time, as one process after another would."""
    log, path = MemoryLog(), tmp_path / "log.db"

    def open_one():
        if request.param == "memory":
            return memory_store(log=log)
        return sqlite_store(path, f"sqlite:///{path}")

    return open_one


def send(store, *messages, stream="P-1"):
    return store.append(stream, [NewEvent(m) for m in messages], expected_version=ANY)


def kept(store):
    return [(schema.event_type, schema.first_position) for schema in store.load_schemas()]


def test_a_type_is_recorded_with_its_first_event_and_once(open_store):
    with open_store() as store:
        send(store, StringValue(value="a"), StringValue(value="b"), Int64Value(value=1))
        send(store, Int64Value(value=2), stream="Q-1")

        assert kept(store) == [
            ("google.protobuf.StringValue", 1),
            ("google.protobuf.Int64Value", 3),
        ]
        assert store.list_event_types() == [
            "google.protobuf.Int64Value",
            "google.protobuf.StringValue",
        ]


def test_a_new_process_records_nothing_that_is_known(open_store):
    with open_store() as store:
        send(store, message(V1, "Sent"))

    with open_store() as store:
        send(store, message(V1, "Sent"))

        assert kept(store) == [("parcel.v1.Sent", 1)]


def test_a_changed_schema_is_recorded_where_it_begins_and_where_it_ends(open_store):
    for body in (V1, V2, V1):
        with open_store() as store:
            send(store, message(body, "Sent"))

    with open_store() as store:
        schemas = store.load_schemas()

    assert [schema.first_position for schema in schemas] == [1, 2, 3]
    assert schemas[0].schema_id == schemas[2].schema_id != schemas[1].schema_id


@pytest.mark.promise("events-need-no-code")
def test_an_append_that_fails_records_nothing(open_store):
    with open_store() as store:
        with pytest.raises(VersionConflict):
            store.append("P-1", [NewEvent(StringValue())], expected_version=7)

        assert kept(store) == []
        send(store, StringValue())
        assert kept(store) == [("google.protobuf.StringValue", 1)]


def test_a_repeated_command_records_nothing_and_forgets_nothing(open_store):
    with open_store() as store:
        command = Command(id="c-1", fingerprint="f", response=b"")
        store.append("P-1", [], expected_version=ANY, command=command)
        again = store.append(
            "P-1", [NewEvent(StringValue())], expected_version=ANY, command=command
        )

        assert again.already_processed
        assert kept(store) == []
        send(store, StringValue())
        assert kept(store) == [("google.protobuf.StringValue", 1)]


def test_threads_that_are_first_together_record_one_schema(open_store):
    with open_store() as store:
        together = threading.Barrier(8)

        def first(number):
            together.wait()
            send(store, StringValue(), stream=f"P-{number}")

        threads = [threading.Thread(target=first, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert kept(store) == [("google.protobuf.StringValue", 1)]


@pytest.mark.promise("events-need-no-code")
def test_events_are_decoded_as_they_were_written_without_generated_code(open_store):
    for sent in (message(V1, "Sent", grams=5), message(V2, "Sent", weight="6 g")):
        with open_store() as store:
            send(store, sent)

    with open_store() as store:
        decoder = EventDecoder(store)
        found = [to_dict(decoder.decode(stored)) for stored in store.read_all()]

    assert found == [{"to": "", "grams": "5"}, {"to": "", "weight": "6 g"}]


def test_a_decoder_that_follows_the_log_learns_new_types_and_new_fields(open_store):
    with open_store() as store:
        decoder = EventDecoder(store)
        send(store, message(V1, "Sent", grams=1))
        first = [to_dict(decoder.decode(stored)) for stored in store.read_all()]
        with open_store() as other:
            send(other, message(LATER, "Sent", by="air"), Int64Value(value=1))

        later = [to_dict(decoder.decode(stored)) for stored in store.read_all(after=1)]

    assert first == [{"to": "", "grams": "1"}]
    assert later == [{"to": "", "grams": "0", "by": "air"}, "1"]


def test_a_type_that_the_store_does_not_know_is_unknown_to_its_decoder(open_store):
    with open_store() as store, memory_store() as empty:
        send(store, StringValue())
        (stored,) = store.read_all()

        with pytest.raises(UnknownEventType):
            EventDecoder(empty).decode(stored)


def test_recording_costs_an_append_nothing_once_a_type_is_known(open_store, monkeypatch):
    with open_store() as store:
        send(store, StringValue())
        monkeypatch.setattr("eskit.store.recording.schema_of", _not_asked_for)

        send(store, StringValue(), StringValue())


def _not_asked_for(*_args, **_kwargs):
    raise AssertionError(f"{schema_of.__name__} is not asked for a known type")
