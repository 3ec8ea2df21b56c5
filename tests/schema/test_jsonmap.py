"""Messages to JSON and back."""

from __future__ import annotations

import json

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from eskit.errors import InvalidArgument
from eskit.schema.jsonmap import parse, short, to_dict, to_json
from eskit.schema.response_pb2 import AppError, Response


def test_default_values_are_printed_under_the_names_of_the_proto(bank_gen):
    event = bank_gen.pb.MoneyDepositedEvent(account_id="a", timestamp=3)

    assert to_dict(event) == {"account_id": "a", "amount": "", "new_balance": "", "timestamp": "3"}


def test_enums_are_names_and_unset_messages_are_left_out(bank_gen):
    assert to_dict(bank_gen.pb.AccountView(status=1))["status"] == "ACCOUNT_STATUS_OPEN"
    assert to_dict(Response()) == {"success": False}


def test_text_is_one_line_and_keeps_letters_of_every_language():
    assert to_json(AppError(message="Zoë\n")) == (
        '{"code": "", "message": "Zoë\\n", "solution": "", "details": {}}'
    )


def test_keys_stand_in_the_order_of_the_proto_at_every_depth(bank_gen):
    view = bank_gen.pb.AccountView(currency="USD", owner_name="O")
    listed = bank_gen.pb.ListAccountsResponse(next_page_token="t", accounts=[view])  # noqa: S106

    values = to_dict(listed)

    assert list(values) == ["accounts", "next_page_token"]
    assert list(values["accounts"][0]) == [
        *("account_id", "owner_name", "balance", "status", "currency", "created_at")
    ]


@pytest.mark.parametrize(
    ("packed", "form"),
    [
        (
            Any(type_url="type.googleapis.com/no.such.Type", value=b"x"),
            {
                "@type": "type.googleapis.com/no.such.Type",
                "@value": "eA==",
                "@problem": "no schema of no.such.Type is known",
            },
        ),
        (
            Any(type_url="t/eventsourcing.AppError", value=b"\xff"),
            {
                "@type": "t/eventsourcing.AppError",
                "@value": "/w==",
                "@problem": "1 bytes do not parse as eventsourcing.AppError",
            },
        ),
        (Any(value=b"x"), {"@type": "", "@value": "eA==", "@problem": "its type is not named"}),
        (Any(), {}),
        (
            Any(
                type_url="t/google.protobuf.Timestamp",
                value=Timestamp(nanos=-1).SerializeToString(),
            ),
            {
                "@type": "t/google.protobuf.Timestamp",
                "value": {"seconds": "0", "nanos": -1, "@problem": "Nanos must be in a range"},
            },
        ),
    ],
)
def test_what_has_no_form_in_json_is_told_beside_the_rest(packed, form):
    values = to_dict(Response(success=True, data=packed))

    if "Nanos" in str(form):
        assert "anos" in values["data"]["value"].pop("@problem")
        del form["value"]["@problem"]
    assert values == {"success": True, "data": form}


def test_what_an_any_holds_may_be_known_elsewhere():
    packed = Response(
        data=Any(type_url="t/no.such.Type", value=AppError(code="C").SerializeToString())
    )

    values = to_dict(packed, find_type={"no.such.Type": AppError}.get)

    assert values["data"] == {"@type": "t/no.such.Type", **to_dict(AppError(code="C"))}


def test_keys_of_maps_stand_in_order(bank_gen):
    error = AppError(details={"b": "1", "a": "2", "c": "3"})

    assert list(to_dict(error)["details"]) == ["a", "b", "c"]


def test_what_was_printed_is_parsed_back(bank_gen):
    view = bank_gen.pb.ListAccountsResponse(
        accounts=[bank_gen.pb.AccountView(account_id="a", created_at=2**62, status=2)]
    )

    assert parse(bank_gen.pb.ListAccountsResponse, to_json(view)) == view


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"code": "A", "message": "M", "code": "B"}', "code"),
        ('{"code": "A", "code": "A"}', "code"),
        ('{"details": {"en": "x", "fr": "y", "en": "z"}}', "en"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(text, key):
    with pytest.raises(InvalidArgument, match=f"'{key}' is given twice") as refused:
        parse(AppError, text)

    assert refused.value.hint == "Keep one of the two values."


def test_a_field_under_both_of_its_names_is_refused(bank_gen):
    with pytest.raises(InvalidArgument, match="'account_id' and 'accountId' are the same field"):
        parse(bank_gen.pb.MoneyDepositedEvent, '{"account_id": "a", "accountId": "b"}')


def test_json_names_are_accepted_as_well(bank_gen):
    command = parse(bank_gen.pb.OpenAccountCommand, '{"accountId": "a", "owner_name": "b"}')

    assert (command.account_id, command.owner_name) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{", "Not JSON: Expecting property name enclosed in double quotes at line 1", "Write an"),
        ("[]", "account.v1.OpenAccountCommand is a JSON object, not list", "Write an object"),
        (
            '{"ownername": "x"}',
            "account.v1.OpenAccountCommand has no field 'ownername'",
            "Did you mean owner_name?",
        ),
        (
            '{"zzz": 1}',
            "account.v1.OpenAccountCommand has no field 'zzz'",
            "Its fields: account_id, owner_name, initial_balance, currency.",
        ),
        (
            '{"currency": ["x"]}',
            "Not valid as account.v1.OpenAccountCommand",
            "Correct the value",
        ),
        ('{"account_id": 3}', "Not valid as account.v1.OpenAccountCommand", "Correct the value"),
        ("[" * 100_000, "The JSON is nested too deeply", ""),
    ],
)
def test_what_is_wrong_is_said(text, message, hint, bank_gen):
    with pytest.raises(InvalidArgument) as caught:
        parse(bank_gen.pb.OpenAccountCommand, text)

    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            '{"accounts": [{"status": "ACCOUNT_STATUS_OPN"}]}',
            "accounts[0].status: account.v1.AccountStatus has no value 'ACCOUNT_STATUS_OPN'",
            "Did you mean ACCOUNT_STATUS_OPEN?",
        ),
        (
            '{"accounts": [{"status": "account_status_open"}]}',
            "accounts[0].status: account.v1.AccountStatus has no value 'account_status_open'",
            "Did you mean ACCOUNT_STATUS_OPEN?",
        ),
        (
            '{"accounts": [{"status": "x"}]}',
            "accounts[0].status: account.v1.AccountStatus has no value 'x'",
            "Its values: ACCOUNT_STATUS_UNSPECIFIED, ACCOUNT_STATUS_OPEN, ACCOUNT_STATUS_CLOSED.",
        ),
    ],
)
def test_an_unknown_enum_value_is_named_with_its_path(text, message, hint, bank_gen):
    with pytest.raises(InvalidArgument) as caught:
        parse(bank_gen.pb.ListAccountsResponse, text)

    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_an_enum_value_may_be_a_number_that_is_text(bank_gen):
    assert parse(bank_gen.pb.AccountView, '{"status": "1"}').status == 1


def class_with_bytes():
    file = FileDescriptorProto(name="blob.proto", package="blob", syntax="proto3")
    field = file.message_type.add(name="Blob").field.add(name="value", number=1)
    field.type, field.label = field.TYPE_BYTES, field.LABEL_OPTIONAL
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("blob.Blob"))


@pytest.mark.parametrize("value", ["3", "[3]", "{}", "true"])
def test_what_cannot_be_bytes_is_told_how_bytes_are_written(value):
    with pytest.raises(InvalidArgument) as caught:
        parse(class_with_bytes(), f'{{"value": {value}}}')

    assert caught.value.message == f"value holds bytes, which are text in JSON, not {value}"
    assert caught.value.hint == "Write them in base64, such as aGVsbG8="


def test_the_fields_of_what_an_any_holds_are_checked_as_well():
    text = '{"data": {"@type": "t/eventsourcing.AppError", "mesage": "x"}}'

    with pytest.raises(InvalidArgument) as caught:
        parse(Response, text)

    assert caught.value.message == "eventsourcing.AppError has no field 'data.mesage'"
    assert caught.value.hint == "Did you mean message?"


def test_an_unknown_field_inside_is_named_with_its_path(bank_gen):
    text = '{"accounts": [{}, {"acount_id": "x"}]}'

    with pytest.raises(InvalidArgument) as caught:
        parse(bank_gen.pb.ListAccountsResponse, text)

    assert caught.value.message == "account.v1.AccountView has no field 'accounts[1].acount_id'"
    assert caught.value.hint == "Did you mean account_id?"


def test_well_known_types_have_forms_of_their_own():
    assert parse(Struct, json.dumps({"any": {"key": [1]}}))["any"]["key"][0] == 1
    assert parse(AppError, '{"details": {"any": "key"}}').details == {"any": "key"}


@pytest.mark.parametrize(
    ("event_type", "shown"),
    [
        ("account.v1.AccountOpenedEvent", "AccountOpened"),
        ("NoteAdded", "NoteAdded"),
        ("a.Event", "Event"),
    ],
)
def test_an_event_type_is_shortened_for_people(event_type, shown):
    assert short(event_type) == shown
