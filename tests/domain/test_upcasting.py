"""Chains of upcasters: followed, and refused when they cannot end."""

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BoolValue, Int32Value, Int64Value, StringValue

from eskit.domain.messages import message_type
from eskit.domain.upcasting import Upcaster, Upcasters, upcast
from eskit.errors import UpcastingInvalid

TEXT, NUMBER = message_type(StringValue), message_type(Int64Value)


@upcast(StringValue, to=Int32Value)
def text_to_small(event):
    return Int32Value(value=int(event.value))


@upcast(Int32Value, to=Int64Value)
def small_to_number(event):
    return Int64Value(value=event.value * 10)


@upcast(Int64Value, to=Int64Value)
def mend_number(event):
    return Int64Value(value=event.value + 1)


def test_a_declared_upcaster_names_both_types():
    assert isinstance(text_to_small, Upcaster)
    assert text_to_small.source_type == TEXT
    assert text_to_small.target_type == message_type(Int32Value)


def test_a_chain_is_followed_to_its_end():
    upcasters = Upcasters([small_to_number, text_to_small])

    assert upcasters.apply(StringValue(value="4")) == Int64Value(value=40)
    assert upcasters.decode(TEXT, StringValue(value="4").SerializeToString()).value == 40
    assert upcasters.current_type(TEXT) == NUMBER


def test_an_old_field_layout_is_mended_wherever_it_comes_from():
    upcasters = Upcasters([text_to_small, small_to_number, mend_number])

    assert upcasters.apply(Int64Value(value=1)).value == 2
    assert upcasters.apply(StringValue(value="1")).value == 11


def test_what_no_upcaster_names_stays_as_it_is():
    upcasters = Upcasters([text_to_small])
    event = BoolValue(value=True)

    assert upcasters.apply(event) is event
    assert not upcasters.touches(message_type(BoolValue))
    assert upcasters.touches(TEXT)


def test_there_may_be_none():
    assert not Upcasters()
    assert Upcasters().decode(TEXT, b"") == StringValue()


def test_the_stored_types_of_an_event_are_all_that_are_read_as_it():
    upcasters = Upcasters([text_to_small, small_to_number, mend_number])

    assert upcasters.stored_types(NUMBER) == tuple(sorted([TEXT, message_type(Int32Value), NUMBER]))
    assert upcasters.stored_types(message_type(BoolValue)) == (message_type(BoolValue),)


def test_a_cycle_is_refused_with_its_path():
    @upcast(Int64Value, to=StringValue)
    def back(event):
        return StringValue(value=str(event.value))

    with pytest.raises(UpcastingInvalid, match=r"StringValue → .*Int32Value → .*Int64Value → "):
        Upcasters([text_to_small, small_to_number, back])


@pytest.mark.parametrize("twice", [text_to_small, mend_number])
def test_two_steps_for_one_event_are_refused(twice):
    with pytest.raises(UpcastingInvalid, match="Two upcasters"):
        Upcasters([twice, twice])


@pytest.mark.parametrize("given", [None, "text", BoolValue()])
def test_an_upcaster_that_gives_something_else_than_it_promised_is_named(given):
    upcasters = Upcasters([upcast(Int32Value, to=Int64Value)(lambda old: given)])

    with pytest.raises(UpcastingInvalid, match=r"The upcaster of google.protobuf.Int32Value gave"):
        upcasters.apply(Int32Value(value=1))


def test_an_event_that_means_nothing_is_read_as_one_that_changes_nothing():
    upcasters = Upcasters([upcast(StringValue, to=Empty)(lambda old: Empty())])

    assert upcasters.apply(StringValue(value="an order")) == Empty()
