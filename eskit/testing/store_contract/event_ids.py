"""Event ids: each is stored once."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit.domain.claims import claim
from eskit.domain.commands import AppendResult
from eskit.domain.events import Metadata, NewEvent
from eskit.domain.streams import ANY
from eskit.errors import EventIdReused, InvalidArgument
from eskit.operations.erasing import erase
from eskit.store.eventstore import EventStore
from eskit.testing.promises import promise
from eskit.testing.store_contract.samples import command, text, texts, values

_ID = "0b5c2f0e-63a5-4d3c-9b40-6a3e6a1c9f10"


def _given(value: str, event_id: str = _ID, **arguments: object) -> NewEvent:
    return NewEvent(StringValue(value=value), event_id=event_id, **arguments)  # type: ignore[arg-type]


class EventIdContract:
    """The same event again is answered, another one is refused."""

    @promise("event-ids-are-unique")
    def test_events_that_are_stored_are_answered_with_their_first_result(
        self, store: EventStore
    ) -> None:
        store.append("Account-0", texts("before"), expected_version=0)
        ids = [str(uuid4()) for _ in range(3)]
        first = store.append(
            "Account-1", [_given("a", event_id) for event_id in ids], expected_version=0
        )
        store.append("Account-1", texts("b"), expected_version=3)

        again = store.append(
            "Account-1",
            [_given("a", event_id, metadata=Metadata(principal_id="ann")) for event_id in ids],
            expected_version=0,
        )

        assert again == AppendResult(
            version=3, global_position=first.global_position, already_processed=True
        )
        assert values(store.read_all()) == ["before", "a", "a", "a", "b"]

    def test_an_event_that_was_appended_is_not_appended_once_more(self, store: EventStore) -> None:
        event = text("a", claim("name", "x"))
        first = store.append("Account-1", [event], expected_version=ANY)

        again = store.append("Account-1", [event], expected_version=ANY)

        assert again == first._replace(already_processed=True)
        with pytest.raises(EventIdReused) as reused:
            store.append("Account-2", [event], expected_version=ANY)
        assert (reused.value.stream, reused.value.position) == ("Account-1", 1)
        assert store.count_events() == 1

    def test_the_id_of_any_stored_event_is_known(self, store: EventStore) -> None:
        for number in range(40):
            store.append(f"Account-{number % 7}", texts(str(number), "x"), expected_version=ANY)
        store.append("Account-9", [_given("given")], expected_version=ANY)

        for event in list(store.read_all()):
            same = NewEvent(event.message, event_id=event.event_id)
            again = store.append(event.stream, [same], expected_version=0)

            assert again == AppendResult(
                version=event.version,
                global_position=event.global_position,
                already_processed=True,
            )
            with pytest.raises(EventIdReused):
                store.append("Order-1", [same], expected_version=ANY)
        assert store.count_events() == 81

    @pytest.mark.parametrize(
        ("stream", "tenant", "event"),
        [
            ("Account-2", "", _given("a")),
            ("Account-1", "acme", _given("a")),
            ("Account-1", "", _given("b")),
            ("Account-1", "", NewEvent(Int64Value(value=1), event_id=_ID)),
            ("Account-1", "", _given("a", claims=[claim("name", "x")])),
        ],
        ids=["stream", "tenant", "payload", "type", "claims"],
    )
    @promise("event-ids-are-unique")
    def test_an_event_id_is_for_one_event(
        self, store: EventStore, stream: str, tenant: str, event: NewEvent
    ) -> None:
        store.append("Account-1", [_given("a")], expected_version=ANY)

        with pytest.raises(EventIdReused, match=_ID) as reused:
            store.for_tenant(tenant).append(stream, [event], expected_version=ANY)

        assert reused.value.stream == ("" if tenant else "Account-1")
        assert store.count_events() == 1

    def test_events_that_were_appended_apart_are_not_one_append(self, store: EventStore) -> None:
        other = str(uuid4())
        store.append("Account-1", [_given("a")], expected_version=0)

        for events in (
            [_given("a"), _given("b", other)],
            [_given("b", other), _given("a")],
            [_given("a"), text("b")],
        ):
            with pytest.raises(EventIdReused, match=_ID):
                store.append("Account-1", events, expected_version=ANY)

        assert store.count_events() == 1

    def test_no_append_has_an_id_twice(self, store: EventStore) -> None:
        event = text("a")

        for events in ([_given("a"), _given("a")], [event, event]):
            with pytest.raises(InvalidArgument, match="Two events of one append"):
                store.append("Account-1", events, expected_version=ANY)

        assert store.count_events() == 0

    def test_an_id_that_was_refused_can_be_appended_elsewhere(self, store: EventStore) -> None:
        event = text("a")
        with pytest.raises(InvalidArgument):
            store.append("nowhere", [event], expected_version=ANY)

        result = store.append("Account-1", [event], expected_version=0)

        assert (result.version, result.already_processed) == (1, False)

    def test_a_forgotten_command_with_the_same_events_is_answered(self, store: EventStore) -> None:
        store.append("Account-1", [_given("a")], expected_version=0)

        again = store.append(
            "Account-1", [_given("a")], expected_version=0, command=command("c1", response=b"ok")
        )

        assert again == AppendResult(
            version=1, global_position=1, already_processed=True, response=b"ok"
        )

    def test_an_erased_event_keeps_its_id(self, store: EventStore) -> None:
        store.append("Account-1", [_given("a")], expected_version=0)
        erase(store, ["Account-1"], reason="asked", erased_by="dpo")

        again = store.append("Account-1", [_given("a")], expected_version=0)

        assert again.already_processed
        with pytest.raises(EventIdReused):
            store.append("Account-2", [_given("a")], expected_version=0)

    def test_an_id_may_be_written_in_any_way(self, store: EventStore) -> None:
        store.append("Account-1", [_given("a")], expected_version=0)

        for spelt in (_ID.upper(), UUID(_ID).hex, f"{{{_ID}}}"):
            assert store.append("Account-1", [_given("a", spelt)], expected_version=0).version == 1
        assert store.count_events() == 1
