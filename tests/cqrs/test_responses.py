"""The wire response: what goes in comes out, and every failure says which kind it is."""

from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit.cqrs import responses
from eskit.errors import (
    CallFailed,
    ClaimTaken,
    CommandIdReused,
    CommandRejected,
    EskitError,
    InvalidArgument,
    ProjectionFailed,
    RequestTimeout,
    StoreUnavailable,
    VersionConflict,
)
from eskit.schema.response_pb2 import Response
from eskit.testing.store_contract.refusing import nested


def test_a_response_carries_its_message() -> None:
    sent = responses.success(StringValue(value="hello"))

    received = Response.FromString(sent.SerializeToString())

    assert responses.unpack(received, StringValue) == StringValue(value="hello")


def test_a_response_that_could_not_be_read_is_not_sent() -> None:
    with pytest.raises(InvalidArgument, match="nested more than 100 deep"):
        responses.success(nested(120))


def test_a_rejection_arrives_with_all_four_fields() -> None:
    sent = responses.failure("NO_FUNDS", "Too little", solution="Deposit", details={"balance": "1"})

    with pytest.raises(CommandRejected) as rejected:
        responses.unpack(sent, StringValue)

    error = rejected.value
    assert (error.rejection, error.message, error.solution, error.details) == (
        "NO_FUNDS",
        "Too little",
        "Deposit",
        {"balance": "1"},
    )


@pytest.mark.parametrize("code", sorted(responses.FAILURES))
def test_a_failure_of_the_service_is_no_rejection(code: str) -> None:
    with pytest.raises(EskitError) as failed:
        responses.unpack(responses.failure(code, "It broke", solution="Mend it."), StringValue)

    assert not isinstance(failed.value, CommandRejected)
    assert (failed.value.message, failed.value.hint) == ("It broke", "Mend it.")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("INVALID_REQUEST", InvalidArgument),
        ("REQUEST_TOO_LARGE", InvalidArgument),
        ("HANDLER_TIMEOUT", RequestTimeout),
        ("STORE_UNAVAILABLE", StoreUnavailable),
        ("PROJECTION_FAILED", ProjectionFailed),
        ("INTERNAL_ERROR", CallFailed),
        ("OVERLOADED", CallFailed),
    ],
)
def test_a_failure_is_raised_as_what_it_was(code: str, error: type[EskitError]) -> None:
    with pytest.raises(error) as failed:
        responses.unpack(responses.failure(code, "It broke"), StringValue)

    assert type(failed.value) is error


def test_texts_of_a_rejection_are_cut_where_they_would_be_too_large_to_arrive() -> None:
    long = "x" * 20_000_000
    details = {f"{number:03}": long for number in range(200)}

    sent = responses.failure("NO", long, solution=long, details=details)

    assert sent.ByteSize() < 500_000
    assert sent.error.message.endswith("… (20,000,000 characters in all)")


def test_a_failure_without_an_error_is_still_a_failure() -> None:
    """Neither a response nor an error must not look like success."""
    with pytest.raises(CallFailed):
        responses.unpack(Response(success=False), StringValue)


def test_an_answer_of_another_type_is_refused() -> None:
    with pytest.raises(CallFailed) as failed:
        responses.unpack(responses.success(Int64Value(value=1)), StringValue)

    assert failed.value.reason == "INVALID_RESPONSE"


@pytest.mark.parametrize(
    "error",
    [
        VersionConflict("Account-1", 3, 4),
        VersionConflict("Account-1", "NO_STREAM", 4),
        ClaimTaken("email", "a@b.c", "User-1"),
        CommandIdReused("c-1", "Account-1"),
    ],
)
def test_a_verdict_of_the_log_is_raised_as_what_it_was(error: EskitError) -> None:
    verdict = responses.as_rejection(error)
    assert verdict is not None
    sent = responses.failure(
        verdict.rejection, verdict.message, solution=verdict.solution, details=verdict.details
    )

    with pytest.raises(type(error)) as raised:
        responses.unpack(sent, StringValue)

    assert vars(raised.value) == vars(error)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("VERSION_CONFLICT", {}),
        ("VERSION_CONFLICT", {"stream": "A-1", "expected": "1", "actual": "9" * 500}),
        ("CLAIM_TAKEN", {"index": "email"}),
        ("COMMAND_ID_REUSED", {"command_id": "c-1"}),
    ],
)
def test_a_rejection_that_is_only_called_like_a_verdict_of_the_log_is_a_rejection(
    code: str, details: dict[str, str]
) -> None:
    with pytest.raises(CommandRejected) as rejected:
        responses.unpack(responses.failure(code, "No", details=details), StringValue)

    assert (rejected.value.rejection, rejected.value.details) == (code, details)


def test_a_fault_is_no_rejection() -> None:
    assert responses.as_rejection(StoreUnavailable("The disk is full")) is None
