"""Messages to JSON and back."""

from __future__ import annotations

import json

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.struct_pb2 import Struct

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


def test_an_any_of_an_unknown_type_is_a_sentence():
    packed = Response(data=Any(type_url="type.googleapis.com/no.such.Type", value=b"x"))

    with pytest.raises(InvalidArgument, match=r"eventsourcing\.Response has no JSON form"):
        to_dict(packed)


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
        ('{"account_id": 3}', "Not valid as account.v1.OpenAccountCommand", "Correct the value"),
        ("[" * 100_000, "The JSON is nested too deeply", ""),
    ],
)
def test_what_is_wrong_is_said(text, message, hint, bank_gen):
    with pytest.raises(InvalidArgument) as caught:
        parse(bank_gen.pb.OpenAccountCommand, text)

    assert caught.value.message.startswith(message)
    assert caught.value.hint.startswith(hint)


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
