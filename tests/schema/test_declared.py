from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from eskit.schema.declared import declared_methods, recorded_methods
from eskit.schema.recorded import EventSchema


def shop(*fields: str) -> FileDescriptorSet:
    """A file with an event, a request and services."""
    file = FileDescriptorProto(name="shop/v1/shop.proto", package="shop.v1", syntax="proto3")
    file.message_type.add(name="Sold")
    request = file.message_type.add(name="Sell")
    for number, name in enumerate(fields, start=1):
        request.field.add(name=name, number=number, type="TYPE_STRING", label="LABEL_OPTIONAL")
    for service, streams in (("ShopService", False), ("ShopQueryService", False), ("Feed", True)):
        file.service.add(name=service).method.add(
            name="Sell",
            input_type=".shop.v1.Sell",
            output_type=".shop.v1.Sold",
            server_streaming=streams,
        )
    return FileDescriptorSet(file=[file])


def schema(files: FileDescriptorSet, *, schema_id: str, position: int) -> EventSchema:
    return EventSchema(
        event_type="shop.v1.Sold",
        schema_id=schema_id,
        files=files.SerializeToString(),
        first_position=position,
    )


def test_methods_are_known_by_their_descriptors():
    methods = declared_methods(shop("item"))

    assert {name: method.kind for name, method in methods.items()} == {
        "shop.v1.ShopService.Sell": "command",
        "shop.v1.ShopQueryService.Sell": "query",
    }
    sell = methods["shop.v1.ShopService.Sell"]
    assert sell.path == "shop.v1.ShopService/Sell"
    assert sell.request(item="book").SerializeToString() == b"\n\x04book"
    assert sell.response.DESCRIPTOR.full_name == "shop.v1.Sold"


def test_the_latest_recorded_schema_of_a_service_counts():
    old, new = shop("item"), shop("item", "buyer")

    after_a_change = recorded_methods(
        [schema(new, schema_id="b", position=7), schema(old, schema_id="a", position=1)]
    )
    taken_back = recorded_methods(
        [
            schema(old, schema_id="a", position=9),
            schema(new, schema_id="b", position=7),
            schema(old, schema_id="a", position=1),
        ]
    )

    def fields(methods):
        return list(methods["shop.v1.ShopService.Sell"].request.DESCRIPTOR.fields_by_name)

    assert fields(after_a_change) == ["item", "buyer"]
    assert fields(taken_back) == ["item"]
    assert recorded_methods([]) == {}
