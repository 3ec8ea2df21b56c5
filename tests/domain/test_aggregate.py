"""Aggregates: what they emit is applied at once, and the fold gives it back."""

from datetime import UTC, datetime

import pytest

from eskit.domain.aggregate import (
    clear_pending,
    enter_context,
    fold,
    fold_event,
    pending_events,
    restore,
    stream_of,
)
from eskit.domain.claims import claim, release
from eskit.domain.context import MessageContext
from eskit.domain.events import EventRow, FoldRow, NewEvent, RecordedEvent
from eskit.domain.messages import message_type
from eskit.domain.upcasting import Upcasters, upcast
from eskit.errors import (
    CommandRejected,
    FoldFailed,
    InvalidArgument,
    UnknownEventType,
    UpcastingInvalid,
)
from tests.support.ledger import (
    UPCASTERS,
    ClosedEvent,
    DepositedEvent,
    Ledger,
    LedgerState,
    OpenedEvent,
    OpenedEventV1,
)

CONTEXT = MessageContext(
    command_id="cmd",
    correlation_id="cor",
    causation_id="cau",
    principal_id="ann",
    tenant="acme",
    now=datetime(2030, 1, 1, tzinfo=UTC),
)


def recorded(message, version):
    event = NewEvent(message)
    row = version, "Ledger-l-1", version, event.id_bytes, event.event_type, 0, "", "", event.data
    return RecordedEvent(EventRow(*row))


def rows(*messages):
    events = (recorded(message, number) for number, message in enumerate(messages, start=1))
    return [FoldRow.of(event.row) for event in events]


def test_a_new_aggregate_knows_its_id_before_the_first_event():
    ledger = Ledger("l-1")

    assert (ledger.id, ledger.version) == ("l-1", 0)
    assert stream_of(ledger) == "Ledger-l-1"
    assert pending_events(ledger) == ()


def test_an_emitted_event_changes_state_and_version_at_once():
    ledger = Ledger("l-1")

    ledger.open("Ann")
    ledger.limit(10)
    ledger.deposit(10)

    assert (ledger.state.owner, ledger.state.balance, ledger.version) == ("Ann", 10, 3)
    with pytest.raises(CommandRejected):
        ledger.deposit(1)
    assert ledger.version == 3


def test_pending_events_carry_claims_and_metadata_in_order():
    ledger = Ledger("l-1")
    enter_context(ledger, CONTEXT)
    ledger.open("Ann")
    ledger.deposit(5)
    ledger.close()

    opened, deposited, closed = pending_events(ledger)

    assert [event.message for event in (opened, deposited, closed)] == [
        OpenedEvent(owner="Ann"),
        DepositedEvent(amount=5),
        ClosedEvent(),
    ]
    assert opened.claims == (claim("owner", "Ann"),)
    assert closed.claims == (release("owner", "Ann"),)
    assert deposited.metadata.command_id == "cmd"
    assert deposited.metadata.correlation_id == "cor"
    assert deposited.metadata.causation_id == "cau"
    assert deposited.metadata.principal_id == "ann"
    assert deposited.metadata.custom == {"via": "test"}
    assert opened.metadata.custom == {}


def test_pending_events_are_a_copy_until_they_are_cleared():
    ledger = Ledger("l-1")
    ledger.open("Ann")
    before = pending_events(ledger)

    clear_pending(ledger)

    assert len(before) == 1
    assert pending_events(ledger) == ()
    assert (ledger.version, ledger.state.owner) == (1, "Ann")


def test_a_message_that_is_no_event_of_the_aggregate_is_refused():
    ledger = Ledger("l-1")

    with pytest.raises(UnknownEventType, match="OpenedEventV1"):
        ledger.emit(OpenedEventV1(name="ann"))

    assert pending_events(ledger) == ()
    assert ledger.version == 0


def test_an_event_that_its_method_refuses_is_not_counted():
    class Strict(Ledger):
        def on_deposited(self, event):
            raise InvalidArgument("no")

    ledger = Strict("l-1")

    with pytest.raises(InvalidArgument):
        ledger.deposit(1)

    assert (ledger.version, pending_events(ledger)) == (0, ())


def test_there_is_a_context_only_inside_a_command_or_an_event():
    ledger = Ledger("l-1")
    with pytest.raises(InvalidArgument):
        _ = ledger.context

    enter_context(ledger, CONTEXT)
    assert ledger.context is CONTEXT
    enter_context(ledger, None)

    with pytest.raises(InvalidArgument):
        _ = ledger.context


def test_the_fold_gives_what_was_emitted():
    emitting = Ledger("l-1")
    emitting.open("Ann")
    emitting.deposit(5)
    emitting.deposit(7)

    folded = Ledger("l-1")
    fold(folded, rows(*(event.message for event in pending_events(emitting))))

    assert folded.state == emitting.state
    assert folded.version == emitting.version
    assert pending_events(folded) == ()


def test_the_fold_goes_on_from_where_the_aggregate_is():
    ledger = Ledger("l-1")
    restore(ledger, LedgerState(owner="Ann", balance=5), 2)

    fold_event(ledger, recorded(DepositedEvent(amount=7), 3))

    assert (ledger.version, ledger.state.balance) == (3, 12)


def test_the_fold_brings_old_events_to_their_current_form():
    ledger = Ledger("l-1")

    fold(ledger, rows(OpenedEventV1(name="ann")), UPCASTERS)

    assert ledger.state.owner == "Ann"


def test_the_fold_refuses_an_event_without_a_method():
    with pytest.raises((UnknownEventType, UpcastingInvalid)):
        fold(Ledger("l-1"), rows(OpenedEventV1(name="ann")))


@pytest.mark.promise("old-events-are-upcast")
def test_an_event_whose_upcaster_raises_is_named():
    @upcast(OpenedEventV1, to=OpenedEvent)
    def broken(_event):
        return OpenedEvent(owner={}["eur"])

    with pytest.raises(FoldFailed) as failed:
        fold(
            Ledger("l-1"),
            rows(OpenedEvent(owner="ann"), OpenedEventV1(name="ann")),
            Upcasters([broken]),
        )

    assert (failed.value.stream, failed.value.version) == ("Ledger-l-1", 2)
    assert failed.value.message == (
        f"Version 2 of Ledger-l-1, {message_type(OpenedEventV1)}, cannot be applied: "
        "KeyError: 'eur'"
    )
    assert isinstance(failed.value.__cause__, KeyError)


def test_an_event_whose_method_raises_is_named_and_the_aggregate_stands_before_it():
    class Careful(Ledger):
        def on_deposited(self, event):
            if event.amount == 2:
                raise CommandRejected("TOO_LATE", "An event is no question")
            super().on_deposited(event)

    careful = Careful("l-1")

    with pytest.raises(FoldFailed, match="Version 2 of Ledger-l-1"):
        fold(careful, rows(DepositedEvent(amount=1), DepositedEvent(amount=2)))

    assert (careful.version, careful.state.balance) == (1, 1)


def test_an_event_whose_payload_does_not_parse_is_named():
    version, event_type, *rest = rows(DepositedEvent(amount=1))[0]
    garbled = (version, event_type, *rest[:-1], b"\xff")

    with pytest.raises(FoldFailed, match="Version 1 of Ledger-l-1"):
        fold(Ledger("l-1"), [garbled])


def test_a_subclass_changes_the_methods_not_the_events():
    class Doubling(Ledger):
        def on_deposited(self, event):
            self.state.balance += 2 * event.amount

    doubling = Doubling("l-1")
    fold(doubling, rows(DepositedEvent(amount=5)))
    plain = Ledger("l-1")
    fold(plain, rows(DepositedEvent(amount=5)))

    assert (doubling.state.balance, plain.state.balance) == (10, 5)
