"""eskit's options: the numbers and names that protos of the original use, read from any pool."""

from __future__ import annotations

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool

from eskit.schema import options_pb2, response_pb2
from eskit.schema.options import aggregate_options, event_options, service_options
from tests.generated import regenerate


def test_the_options_have_the_names_and_numbers_that_existing_protos_use():
    extensions = options_pb2.DESCRIPTOR.extensions_by_name

    assert options_pb2.DESCRIPTOR.name == "eventsourcing/options.proto"
    assert {e.full_name: e.number for e in extensions.values()} == {
        "eventsourcing.service": 50002,
        "eventsourcing.aggregate_root": 50003,
        "eventsourcing.event": 50004,
    }
    messages = options_pb2.DESCRIPTOR.message_types_by_name
    assert {m.name: {f.name: f.number for f in m.fields} for m in messages.values()} == {
        "ServiceOptions": {"aggregate_name": 1, "aggregate_root_message": 2},
        "AggregateRootOptions": {"id_field": 1, "type_name": 2},
        "EventOptions": {"aggregate_name": 1},
    }


def test_the_response_has_the_fields_of_the_wire():
    assert {f.name: f.number for f in response_pb2.Response.DESCRIPTOR.fields} == {
        "success": 1,
        "error": 2,
        "data": 3,
    }
    assert {f.name: f.number for f in response_pb2.AppError.DESCRIPTOR.fields} == {
        "code": 1,
        "message": 2,
        "solution": 3,
        "details": 4,
    }


def test_the_committed_modules_are_what_the_protos_generate():
    result = regenerate(check=True)

    assert result.missing == result.stale == result.edited == ()
    assert len(result.unchanged) == 4


def test_options_are_read_from_the_default_pool(bank_gen):
    account = bank_gen.pb.Account.DESCRIPTOR
    opened = bank_gen.pb.AccountOpenedEvent.DESCRIPTOR
    service = bank_gen.pb.DESCRIPTOR.services_by_name["AccountCommandService"]

    assert aggregate_options(account).id_field == "account_id"
    assert event_options(opened).aggregate_name == "Account"
    assert service_options(service).aggregate_root_message == "account.v1.Account"


def test_options_are_read_from_a_pool_of_ones_own(bank_gen):
    pool = DescriptorPool()
    for file in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR, bank_gen.pb.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)

    account = pool.FindMessageTypeByName("account.v1.Account")

    assert aggregate_options(account).type_name == "Account"


def test_messages_without_options_have_none(bank_gen):
    view = bank_gen.pb.AccountView.DESCRIPTOR
    file = descriptor_pb2.FileDescriptorProto()
    view.file.CopyToProto(file)

    assert aggregate_options(view) is None
    assert event_options(view) is None
    assert aggregate_options(file.message_type[0]).id_field == "account_id"
    assert event_options(file.message_type[0]) is None
