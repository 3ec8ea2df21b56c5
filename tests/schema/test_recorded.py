"""Events are read with the schemas that a store kept, whatever the generated code says now."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.messages import PayloadInvalid
from eskit.errors import UnknownEventType
from eskit.schema.jsonmap import to_dict
from eskit.schema.recorded import EventSchema, RecordedSchemaInvalid, RecordedSchemas, schema_of
from tests.support.schema_versions import event, message

V1 = event("Sent", "string to = 1; int64 grams = 2;")
V2 = event("Sent", "string to = 1; string weight = 2; string by = 3;")


def at(position, sent):
    return schema_of(type(sent), first_position=position)


def test_each_event_is_read_as_it_was_written():
    old, new = message(V1, "Sent", grams=5), message(V2, "Sent", weight="5 g", by="air")
    schemas = RecordedSchemas([at(10, new), at(1, old)])

    first = schemas.decode("parcel.v1.Sent", old.SerializeToString(), position=9)
    second = schemas.decode("parcel.v1.Sent", new.SerializeToString(), position=10)

    assert to_dict(first) == {"to": "", "grams": "5"}
    assert to_dict(second) == {"to": "", "weight": "5 g", "by": "air"}


def test_events_older_than_the_first_schema_are_read_with_it():
    sent = message(V1, "Sent", to="Oslo")
    schemas = RecordedSchemas([at(100, sent)])

    found = schemas.decode("parcel.v1.Sent", sent.SerializeToString(), position=1)

    assert to_dict(found)["to"] == "Oslo"


def test_one_schema_has_one_identity_however_often_it_is_loaded():
    one, other = at(1, message(V1, "Sent")), at(1, message(V1, "Sent"))

    assert one == other
    assert one.schema_id != at(1, message(V2, "Sent")).schema_id


def test_versions_are_told_once_and_oldest_first():
    v1, v2 = message(V1, "Sent"), message(V2, "Sent")
    schemas = RecordedSchemas([at(1, v1), at(5, v2), at(9, v1)])

    assert [schema.first_position for schema in schemas.versions("parcel.v1.Sent")] == [1, 5]
    assert schemas.event_types == ("parcel.v1.Sent",)


def test_a_type_of_protobuf_itself_is_kept_like_any_other():
    schema = schema_of(StringValue, first_position=1)

    found = RecordedSchemas([schema]).decode(
        "google.protobuf.StringValue", StringValue(value="x").SerializeToString(), position=1
    )

    assert to_dict(found) == "x"


def test_imports_are_kept_but_for_those_that_are_always_there():
    body = 'import "google/protobuf/timestamp.proto"; import "money.proto";' + event(
        "Paid", "google.protobuf.Timestamp at = 1; money.Money sum = 2;"
    )
    paid = message(body, "Paid", sum={"units": 7})
    paid.at.seconds = 60
    schema = at(1, paid)

    files = [file.name for file in FileDescriptorSet.FromString(schema.files).file]
    found = RecordedSchemas([schema]).decode("parcel.v1.Paid", paid.SerializeToString(), position=1)

    assert files == ["money.proto", "parcel.proto"]
    assert to_dict(found)["sum"]["units"] == "7"
    assert to_dict(found)["at"] == "1970-01-01T00:01:00Z"


def test_a_type_that_was_never_recorded_is_unknown():
    with pytest.raises(UnknownEventType):
        RecordedSchemas([]).decode("parcel.v1.Sent", b"", position=1)


def test_bytes_that_do_not_fit_their_schema_are_invalid():
    schemas = RecordedSchemas([at(1, message(V1, "Sent"))])

    with pytest.raises(PayloadInvalid):
        schemas.decode("parcel.v1.Sent", b"\xff", position=1)


@pytest.mark.parametrize(
    "files",
    [
        b"\xff",
        b"",
        FileDescriptorSet(
            file=[FileDescriptorProto(name="a.proto", dependency=["gone.proto"])]
        ).SerializeToString(),
    ],
    ids=["damaged", "empty", "an import is missing"],
)
def test_a_damaged_schema_is_told_and_not_guessed(files):
    schema = EventSchema(event_type="parcel.v1.Sent", schema_id="x", files=files, first_position=1)

    with pytest.raises(RecordedSchemaInvalid):
        RecordedSchemas([schema]).decode("parcel.v1.Sent", b"", position=1)
