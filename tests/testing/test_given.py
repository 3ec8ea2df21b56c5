"""Given, when, then: what passes, what fails, and what a failure says."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime

import pytest

from eskit.domain.claims import claim
from eskit.errors import InvalidArgument
from eskit.testing import NOW, given
from tests.testing.counter import (
    Add,
    AddedEvent,
    AddedEventV1,
    Bump,
    Counter,
    Create,
    Other,
    Repair,
    Reply,
    State,
    added_v1,
)


def add(number: int) -> object:
    return Add(counter_id="c-1", number=number)


def test_a_command_is_decided_on_the_events_before_it() -> None:
    (
        given(Counter, AddedEvent(number=1), AddedEvent(number=2))
        .when(add(4))
        .then(AddedEvent(number=4))
        .then_claims(claim("number", "4"))
        .then_response(Reply(counter_id="c-1", total=7))
        .then_state(State(counter_id="c-1", total=7, changed_at=int(NOW.timestamp())))
    )


def test_an_erased_history_leaves_the_version_and_an_empty_state() -> None:
    history = given(Counter, AddedEvent(number=1), AddedEvent(number=2))

    outcome = history.erased().when(add(4))

    outcome.then(AddedEvent(number=4)).then_state(total=4).then_response(total=4)
    history.when(add(4)).then_state(total=7)


def test_expectations_may_name_only_some_fields() -> None:
    given(Counter, AddedEvent(number=1)).when(add(4)).then_state(total=5).then_response(total=5)


def test_a_command_may_be_carried_out_without_an_event() -> None:
    given(Counter).when(add(0)).then_nothing().then_response(total=0)


def test_a_rejection_is_expected_by_its_code() -> None:
    given(Counter, AddedEvent(number=99)).when(add(2)).then_rejected("TOO_MUCH")


def test_a_command_with_an_empty_id_is_rejected_as_in_the_application() -> None:
    given(Counter).when(Add(number=1)).then_rejected("INVALID_ID")


def test_a_command_without_an_id_creates_the_same_aggregate_each_time() -> None:
    first = given(Counter).when(Create(number=1))
    second = given(Counter).when(Create(number=1))

    assert first == second
    first.then_state(total=1)


def test_the_rules_see_the_given_time() -> None:
    then = datetime(2027, 5, 1, tzinfo=UTC)

    given(Counter, now=then).when(add(1)).then_state(changed_at=int(then.timestamp()))


def test_old_events_are_read_through_upcasters() -> None:
    given(Counter, AddedEventV1(text="7"), upcasters=[added_v1]).when(add(1)).then_state(total=8)


def test_a_given_history_takes_several_commands_apart() -> None:
    counter = given(Counter, AddedEvent(number=1))

    counter.when(add(1)).then_state(total=2)
    counter.when(add(5)).then_state(total=6)


def test_of_two_rpcs_with_one_message_the_test_says_which() -> None:
    bump = Bump(counter_id="c-1")

    given(Counter).when(bump, rpc="BumpTwice").then_state(total=2)
    with pytest.raises(InvalidArgument, match="several rpcs") as caught:
        given(Counter).when(bump)

    assert caught.value.hint == 'Say which: .when(command, rpc="BumpOnce")'


def test_a_message_that_is_no_command_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"tests\.counter\.v1\.Other is no command") as caught:
        given(Counter).when(Other())

    assert "Its commands: Add, Create, Bump, Repair" in caught.value.hint


def test_state_that_no_event_carries_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="change state in event methods only"):
        given(Counter, AddedEvent(number=5)).when(Repair(counter_id="c-1"))


def test_other_events_than_expected_are_shown_as_a_diff() -> None:
    outcome = given(Counter).when(add(1))

    with pytest.raises(AssertionError) as caught:
        outcome.then(AddedEvent(number=2), AddedEvent(number=3))

    assert str(caught.value) == textwrap.dedent("""\
        Add emitted other events than expected (- expected, + emitted)
          tests.counter.v1.AddedEvent
        -   number: 2
        +   number: 1
        - tests.counter.v1.AddedEvent
        -   number: 3""")


def test_another_state_than_expected_is_shown_as_a_diff() -> None:
    outcome = given(Counter).when(add(1))

    with pytest.raises(AssertionError) as caught:
        outcome.then_response(total=2)

    assert str(caught.value) == textwrap.dedent("""\
        Add gave another response than expected (- expected, + actual)
          tests.counter.v1.Reply
            counter_id: "c-1"
        -   total: 2
        +   total: 1""")


def test_an_unexpected_rejection_says_what_it_was() -> None:
    outcome = given(Counter).when(add(101))

    for expectation in (
        outcome.then_nothing,
        outcome.then_claims,
        outcome.then_state,
        outcome.then_response,
    ):
        with pytest.raises(AssertionError) as caught:
            expectation()
        assert str(caught.value) == "Add was rejected with TOO_MUCH: More than 100: Add less."


def test_a_missing_rejection_says_what_happened_instead() -> None:
    outcome = given(Counter).when(add(1))

    with pytest.raises(AssertionError) as caught:
        outcome.then_rejected("TOO_MUCH")

    assert "was not rejected with TOO_MUCH, it emitted" in str(caught.value)
    assert "number: 1" in str(caught.value)


def test_another_rejection_is_named() -> None:
    outcome = given(Counter).when(add(101))

    with pytest.raises(AssertionError, match="not rejected with TOO_FEW but with TOO_MUCH"):
        outcome.then_rejected("TOO_FEW")


def test_other_claims_than_expected_fail() -> None:
    outcome = given(Counter).when(add(1))

    with pytest.raises(AssertionError, match="made other claims"):
        outcome.then_claims(claim("number", "2"))
