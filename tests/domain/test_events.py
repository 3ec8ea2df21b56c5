"""Events before and after they are recorded, and their metadata."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from eskit.domain.claims import claim, release
from eskit.domain.commands import Command, fingerprint
from eskit.domain.events import EventRow, Metadata, NewEvent, RecordedEvent
from eskit.domain.messages import PayloadInvalid, decode, message_class
from eskit.errors import InvalidArgument, StoreDamaged, UnknownEventType

TEXTS = st.text()


@given(
    st.builds(
        Metadata,
        correlation_id=TEXTS,
        causation_id=TEXTS,
        command_id=TEXTS,
        principal_id=TEXTS,
        custom=st.dictionaries(TEXTS, TEXTS),
    )
)
def test_metadata_survives_json(metadata):
    assert Metadata.from_json(metadata.to_json()) == metadata


def test_empty_metadata_takes_no_room():
    assert Metadata().to_json() == ""
    assert Metadata.from_json("") == Metadata()


def test_metadata_of_a_newer_eskit_is_read():
    assert Metadata.from_json('{"command_id":"c","later":1}') == Metadata(command_id="c")


def test_a_new_event_does_not_change_with_its_message():
    message = StringValue(value="before")
    event = NewEvent(message)
    message.value = "after"

    assert StringValue.FromString(event.data).value == "before"
    assert event.event_type == "google.protobuf.StringValue"
    assert UUID(event.event_id).version == 7


def recorded(**changes):
    row = {
        "global_position": 7,
        "stream": "Account-1",
        "version": 2,
        "event_id": UUID("01890a5d-ac96-774b-bcce-b302099a8057").bytes,
        "event_type": "google.protobuf.StringValue",
        "recorded_at": 1_700_000_000_123_456,
        "tenant": "acme",
        "metadata": '{"command_id":"c"}',
        "data": StringValue(value="a").SerializeToString(),
    }
    return RecordedEvent(EventRow(**row | changes))


@pytest.mark.parametrize("event_id", ["nonsense", "0192", "-"])
def test_an_event_id_that_is_no_uuid_is_refused(event_id):
    with pytest.raises(InvalidArgument, match="is not an event id"):
        NewEvent(StringValue(value="a"), event_id=event_id)


@given(st.uuids())
def test_an_event_keeps_the_id_that_it_is_given(event_id):
    event = NewEvent(StringValue(value="a"), event_id=str(event_id))

    assert (event.event_id, event.id_bytes) == (str(event_id), event_id.bytes)


def test_a_recorded_event_decodes_its_message_once():
    event = recorded()

    assert event.message == StringValue(value="a")
    assert event.message is event.message


def test_a_recorded_event_has_an_aware_time_with_microseconds():
    assert recorded().recorded_at == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)


def test_a_recorded_event_takes_its_id_as_text_or_bytes():
    event_id = UUID("01890a5d-ac96-774b-bcce-b302099a8057")

    from_bytes = recorded(event_id=event_id.bytes)

    assert from_bytes.event_id == str(event_id)
    assert from_bytes == recorded()
    assert hash(from_bytes) == hash(recorded())


def test_events_differ_when_anything_differs():
    assert recorded() != recorded(data=b"")
    assert recorded() != "an event"
    assert "Account-1" in repr(recorded())


def test_an_event_type_that_is_not_loaded_is_named():
    with pytest.raises(UnknownEventType, match=r"no\.such\.Event"):
        _ = recorded(event_type="no.such.Event").message


def test_a_payload_that_does_not_parse_is_named():
    with pytest.raises(
        PayloadInvalid, match=r"bytes do not parse as google\.protobuf\.StringValue$"
    ):
        decode("google.protobuf.StringValue", b"\xff\xff\xff")


def test_the_class_of_an_event_type_is_the_one_that_generated_code_uses():
    assert message_class("google.protobuf.StringValue") is StringValue


@pytest.mark.parametrize(("index", "value"), [("", "x"), ("email", "")])
@pytest.mark.parametrize("make", [claim, release])
def test_a_claim_needs_an_index_and_a_value(make, index, value):
    with pytest.raises(InvalidArgument):
        make(index, value)


def test_a_fingerprint_tells_method_and_request_apart():
    one = fingerprint("a.B.C", StringValue(value="x"))

    assert one == fingerprint("a.B.C", StringValue(value="x"))
    assert one != fingerprint("a.B.D", StringValue(value="x"))
    assert one != fingerprint("a.B.C", StringValue(value="y"))


@pytest.mark.parametrize("command_id", ["", "x" * 256, "a\nb"])
def test_a_command_id_that_cannot_work_is_refused(command_id):
    with pytest.raises(InvalidArgument):
        Command(id=command_id, fingerprint="f")


@pytest.mark.parametrize("recorded_at", [2**63 - 1, -(2**63), "x", None])
def test_a_time_that_is_none_is_named(recorded_at):
    event = RecordedEvent(EventRow(7, "Account-1", 1, bytes(16), "a.B", recorded_at, "", "", b""))

    with pytest.raises(StoreDamaged, match="is kept as the time of the event at 7"):
        _ = event.recorded_at
