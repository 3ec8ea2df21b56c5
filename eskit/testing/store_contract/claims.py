"""Unique values."""

from __future__ import annotations

import pytest

from eskit.domain.claims import claim, release
from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import ClaimTaken
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import text


class ClaimContract:
    """A value has one owner."""

    def test_a_claimed_value_belongs_to_the_stream(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=NO_STREAM)

        assert store.find_claim("email", "a@b") == "Account-1"
        assert store.find_claim("email", "other") is None
        assert store.find_claim("name", "a@b") is None

    @promise("claims-are-unique")
    def test_two_new_aggregates_cannot_hold_one_value(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=NO_STREAM)

        with pytest.raises(ClaimTaken) as taken:
            store.append(
                "Customer-2", [text("b", claim("email", "a@b"))], expected_version=NO_STREAM
            )

        assert (taken.value.index, taken.value.value) == ("email", "a@b")
        assert taken.value.owner == "Account-1"
        assert store.stream_version("Customer-2") == 0

    def test_a_released_value_is_free_for_others(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=NO_STREAM)
        store.append("Account-1", [text("b", release("email", "a@b"))], expected_version=1)

        store.append("Account-2", [text("c", claim("email", "a@b"))], expected_version=NO_STREAM)

        assert store.find_claim("email", "a@b") == "Account-2"

    def test_claims_of_one_append_run_in_event_order(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "old"))], expected_version=ANY)

        store.append(
            "Account-1",
            [
                text("b", release("email", "old"), claim("email", "new")),
                text("c", release("email", "new"), claim("email", "old")),
            ],
            expected_version=ANY,
        )

        assert store.find_claim("email", "old") == "Account-1"
        assert store.find_claim("email", "new") is None

    def test_a_stream_may_claim_again_what_it_has(self, store: EventStore) -> None:
        for version in range(2):
            store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=version)

        assert store.find_claim("email", "a@b") == "Account-1"

    @promise("claims-are-unique")
    def test_only_the_owner_releases(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=ANY)

        store.append("Account-2", [text("b", release("email", "a@b"))], expected_version=ANY)

        assert store.find_claim("email", "a@b") == "Account-1"

    def test_releasing_what_another_has_does_not_let_one_claim_it(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("email", "a@b"))], expected_version=ANY)

        with pytest.raises(ClaimTaken):
            store.append(
                "Account-2",
                [text("b", release("email", "a@b"), claim("email", "a@b"))],
                expected_version=ANY,
            )
