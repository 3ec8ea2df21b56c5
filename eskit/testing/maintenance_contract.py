"""The contract of a store's `maintenance` as a test suite; subclass it like the store's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from eskit.domain.claims import claim, release
from eskit.domain.commands import reaction_command_id
from eskit.domain.events import EventRow, Metadata
from eskit.domain.streams import ANY
from eskit.errors import (
    ClaimTaken,
    EventErased,
    InvalidArgument,
    StoreUnavailable,
    StreamNotFound,
)
from eskit.operations.claims import check_claims, rebuild_claims
from eskit.operations.erasing import erase
from eskit.operations.pruning import prune_commands
from eskit.operations.verifying import verify
from eskit.store.copies import CopyState
from eskit.store.eventstore import EventStore
from eskit.store.port import View
from eskit.store.records import (
    LETTER,
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    Record,
    StreamInfo,
    letter_key,
)
from eskit.testing.promises import promise
from eskit.testing.store_contract import SettableClock, command, text, texts
from eskit.testing.store_contract.samples import TEXT, pass_days

_WHO = Metadata(correlation_id="cor", principal_id="bob", custom={"ip": "10.0.0.1"})


def records(store: EventStore) -> list[EventRow]:
    """The whole log as it is stored."""
    with store.view() as view:
        return list(view.events())


def claims(store: EventStore) -> list[ClaimRow]:
    """All claims, sorted."""
    with store.view() as view:
        return list(view.rows(ClaimRow))


def _drop_and_fail(locked: View, held: ClaimRow) -> None:
    locked.drop([held])
    raise ZeroDivisionError


class MaintenanceContract:
    """What the operations of every store promise, beside the contract of the store."""

    # --- views ---

    def test_a_view_shows_the_store_as_it_was_when_it_was_opened(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("name", "a"))], expected_version=ANY)

        with store.view() as view:
            store.append("Account-2", [text("b", claim("name", "b"))], expected_version=ANY)

            assert [record.stream for record in view.events()] == ["Account-1"]
            assert [held.value for held in view.rows(ClaimRow)] == ["a"]
            assert (view.count(EventRow), view.count(StreamInfo), view.head()) == (1, 1, 1)

    def test_a_view_can_be_narrowed_to_streams_of_a_tenant(self, store: EventStore) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)
        store.for_tenant("acme").append("Account-1", texts("b"), expected_version=ANY)
        store.append("Account-2", texts("c"), expected_version=ANY)
        store.append("Account-1", texts("d"), expected_version=ANY)

        with store.view() as view:
            found = [r.global_position for r in view.events(streams=[("Account-1", "")])]

        assert found == [1, 4]

    # --- claims ---

    @promise("claims-can-be-rebuilt")
    def test_claims_that_were_lost_are_rebuilt_in_the_order_of_events(
        self, store: EventStore
    ) -> None:
        store.append("Account-1", [text("a", claim("name", "x"))], expected_version=ANY)
        store.append("Account-1", [text("b", release("name", "x"))], expected_version=ANY)
        store.append("Account-2", [text("c", claim("name", "x"))], expected_version=ANY)
        store.for_tenant("t").append(
            "Account-3", [text("d", claim("name", "y"))], expected_version=ANY
        )
        right = claims(store)
        with store.view(exclusive=True) as locked:
            locked.put([ClaimRow("", "name", "x", "Account-1")])
            locked.put([ClaimRow("", "name", "z", "Account-1")])
            locked.drop([ClaimRow("t", "name", "y", "Account-3")])

        checked, rebuilt = check_claims(store), rebuild_claims(store)

        assert checked == rebuilt
        assert [(d.kind, d.value) for d in checked.differences] == [
            ("owner", "x"),
            ("extra", "z"),
            ("missing", "y"),
        ]
        assert claims(store) == right
        assert check_claims(store).count == 0

    def test_a_lock_that_ends_in_an_error_changes_nothing(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("name", "x"))], expected_version=ANY)

        with pytest.raises(ZeroDivisionError), store.view(exclusive=True) as locked:
            _drop_and_fail(locked, ClaimRow("", "name", "x", "Account-1"))

        assert store.find_claim("name", "x") == "Account-1"

    # --- erasure ---

    @promise("erased-is-erased")
    def test_an_erased_stream_keeps_its_place_and_loses_what_it_said(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        events = [text("secret", claim("name", "bob"), metadata=_WHO), text("more")]
        store.append("Account-1", events, expected_version=ANY, command=command("c1"))
        store.append("Account-2", texts("other"), expected_version=ANY)
        before = records(store)

        (erasure,) = erase(store, ["Account-1"], reason="asked", erased_by="dpo")

        first, second, other = store.read_all()
        assert (erasure.events, erasure.version, erasure.erased_at) == (2, 2, clock.now)
        assert [first.erased, second.erased, other.erased] == [True, True, False]
        assert [r[:6] for r in records(store)] == [r[:6] for r in before]
        assert first.data == b""
        assert first.metadata == Metadata(correlation_id="cor")
        assert store.find_claim("name", "bob") is None
        assert store.stream_version("Account-1") == 2
        found = store.find_command("c1")
        assert found is not None
        assert found.response == b""
        with pytest.raises(EventErased, match="Version 1 of Account-1 was erased"):
            _ = first.message

    def test_a_follower_gets_an_erased_event_without_its_payload(self, store: EventStore) -> None:
        store.append("Account-1", texts("secret"), expected_version=ANY)
        store.append("Account-2", texts("", "other"), expected_version=ANY)
        kept = [event.data for event in store.read_stream("Account-2")]

        erase(store, ["Account-1"], reason="asked", erased_by="dpo")

        assert kept[0] == b""
        assert [data for *_, data in store.read_log_rows()] == [None, *kept]
        assert [data for *_, data in store.read_log_rows(event_types=[TEXT])] == [None, *kept]

    def test_an_erasure_is_recorded_once(self, store: EventStore) -> None:
        store.for_tenant("t").append("Account-1", texts("a"), expected_version=ANY)

        (first,) = erase(store.for_tenant("t"), ["Account-1"], reason="r", erased_by="x")
        (again,) = erase(store.for_tenant("t"), ["Account-1"], reason="r", erased_by="y")

        with store.view() as view:
            assert list(view.rows(Erasure)) == [first]
        assert again.events == 0

    def test_a_stream_goes_on_after_its_erasure(self, store: EventStore) -> None:
        store.append("Account-1", [text("a", claim("name", "x"))], expected_version=ANY)
        erase(store, ["Account-1"], reason="asked", erased_by="dpo")

        result = store.append("Account-1", [text("b", claim("name", "x"))], expected_version=1)

        assert result.version == 2
        assert [event.erased for event in store.read_stream("Account-1")] == [True, False]
        assert verify(store).verdict == "ok"

    def test_an_unknown_stream_cannot_be_erased(self, store: EventStore) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)

        with pytest.raises(StreamNotFound):
            erase(store.for_tenant("other"), ["Account-1"], reason="r", erased_by="x")

    # --- adding recorded events ---

    def test_recorded_events_are_added_as_they_are(self, store: EventStore) -> None:
        wanted = [
            EventRow(3, "Account-1", 1, b"1" * 16, "a.B", 5, "t", "", b"x", None),
            EventRow(9, "Account-2", 1, b"2" * 16, "a.B", 5, "", '{"command_id":"c"}', b"", None),
            EventRow(10, "Account-1", 2, b"3" * 16, "a.B", 7, "t", "", b"z", None),
        ]

        with store.view(exclusive=True) as locked:
            locked.put(wanted)

        assert records(store) == wanted
        assert store.head_position() == 10
        assert [e.global_position for e in store.read_all(after=3)] == [9, 10]
        assert [e.global_position for e in store.read_all(before=10, backward=True)] == [9, 3]
        assert store.find_event(4) is None
        assert store.append("Account-2", texts("b"), expected_version=1).global_position == 11

    @pytest.mark.parametrize(
        "wrong",
        [
            EventRow(1, "Account-2", 1, b"2" * 16, "a.B", 5, "", "", b"", None),
            EventRow(2, "Account-1", 3, b"2" * 16, "a.B", 5, "", "", b"", None),
            EventRow(2, "Account-1", 2, b"2" * 16, "a.B", 4, "", "", b"", None),
        ],
        ids=["position", "version", "time"],
    )
    def test_recorded_events_must_follow(self, store: EventStore, wrong: EventRow) -> None:
        first = EventRow(1, "Account-1", 1, b"1" * 16, "a.B", 5, "", "", b"", None)

        with pytest.raises(InvalidArgument), store.view(exclusive=True) as locked:
            locked.put([first, wrong])

        assert records(store) == []

    def test_recorded_events_cannot_hold_one_value_twice(self, store: EventStore) -> None:
        taken = '[["claim","name","x"]]'
        events = [
            EventRow(1, "Account-1", 1, b"1" * 16, "a.B", 5, "", "", b"", taken),
            EventRow(2, "Account-2", 1, b"2" * 16, "a.B", 5, "", "", b"", taken),
        ]

        with pytest.raises(ClaimTaken), store.view(exclusive=True) as locked:
            locked.put(events)

        assert (records(store), claims(store)) == ([], [])

    # --- copying ---

    @pytest.mark.parametrize("role", ["source", "target", "aborted"])
    @promise("one-of-two-is-open")
    def test_a_store_that_a_copy_has_closed_refuses_every_change(
        self, store: EventStore, clock: SettableClock, role: Literal["source", "target", "aborted"]
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=0, command=command("c1"))
        state = CopyState(role=role, attempt="1", url="here://", other="there://")
        with store.view(exclusive=True, copying=True) as locked:
            locked.put([state.record(clock.now)])

        for change in (
            lambda: store.append("Account-1", texts("b"), expected_version=ANY),
            lambda: store.append("Account-2", [], expected_version=ANY, command=command("c2")),
            lambda: store.submit("Account-1", texts("b"), expected_version=ANY).result(),
            lambda: store.save_checkpoint("p", position=1, event_id=""),
            lambda: store.save_record("follower", "p", "{}", expected_revision=0),
            lambda: rebuild_claims(store),
            store.check_writing,
        ):
            with pytest.raises(StoreUnavailable) as refused:
                change()
            assert refused.value.message == f"here:// {state.text}"
            assert refused.value.code == ("STORE_MOVED" if role == "source" else "COPY_UNFINISHED")

        again = store.append("Account-1", texts("a"), expected_version=0, command=command("c1"))
        assert again.already_processed
        assert (store.find_copy(), store.info().copy) == (state, state)
        assert [event.version for event in store.read_all()] == [1]
        assert (store.list_checkpoints(), store.find_record("follower", "p")) == ([], None)

    @promise("one-of-two-is-open")
    def test_a_store_that_is_open_again_takes_appends(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        state = CopyState(role="source", attempt="1", url="here://", other="there://")
        with store.view(exclusive=True, copying=True) as locked:
            locked.put([state.record(clock.now)])
        with pytest.raises(StoreUnavailable):
            store.append("Account-1", texts("a"), expected_version=0)

        with store.view(exclusive=True, copying=True) as locked:
            locked.drop([state.record(clock.now)])

        assert store.append("Account-1", texts("a"), expected_version=0).version == 1
        assert store.find_copy() is None

    def test_what_followers_keep_is_put_as_it_is(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        place = Checkpoint(
            name="relay", store_id="other", position=7, event_id="e", updated_at=clock.now
        )
        record = Record(
            kind="follower", key="p", value='{"low": 7}', revision=9, updated_at=clock.now
        )
        store.save_record("follower", "p", "{}", expected_revision=0)

        with store.view(exclusive=True) as locked:
            locked.put([place, record])

        assert store.list_checkpoints() == [place]
        assert store.find_record("follower", "p") == record
        with store.view(exclusive=True) as locked:
            locked.drop([record])
        assert store.find_record("follower", "p") is None

    def test_an_erasure_elsewhere_is_kept_as_it_is(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        store.append("Account-1", texts("a", "b"), expected_version=0)
        elsewhere = Erasure(
            stream="Account-1",
            tenant="",
            version=5,
            events=3,
            erased_at=clock.now,
            erased_by="dpo",
            reason="asked",
        )

        with store.view(exclusive=True) as locked:
            locked.erase(elsewhere)

        with store.view() as view:
            assert list(view.rows(Erasure)) == [elsewhere]
        assert [event.erased for event in store.read_all()] == [True, True]

    # --- commands ---

    def test_a_view_shows_the_commands_of_some_streams_or_all(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("c2"))
        store.for_tenant("t").append("Account-1", [], expected_version=ANY, command=command("c1"))
        store.append("Account-2", [], expected_version=ANY, command=command("c3"))

        with store.view() as view:
            every = list(view.rows(CommandRow))
            some = list(view.rows(CommandRow, streams=[("Account-1", "")]))

        now = clock.microseconds()
        assert every == [
            CommandRow("", "c2", "Open", "Account-1", 1, 1, now, b"ok"),
            CommandRow("", "c3", "Open", "Account-2", 0, 0, now, b"ok"),
            CommandRow("t", "c1", "Open", "Account-1", 0, 0, now, b"ok"),
        ]
        assert some == every[:1]

    def test_a_command_that_was_added_is_answered_like_any_other(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)
        done = CommandRow("", "c1", "Open", "Account-1", 1, 1, clock.microseconds(), b"first")
        empty = CommandRow("t", "c1", "Open", "Account-9", 0, 0, clock.microseconds(), b"none")
        for _ in range(2):
            with store.view(exclusive=True) as locked:
                locked.put([done, empty])

        again = store.append("Account-1", texts("b"), expected_version=0, command=command("c1"))

        assert (again.already_processed, again.version, again.response) == (True, 1, b"first")
        assert [stream.stream for stream in store.list_streams()] == ["Account-1"]
        pass_days(store, clock, 8)
        prune_commands(store)
        assert store.find_command("c1") is None

    def test_a_command_cannot_be_further_than_its_stream(self, store: EventStore) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY)
        good = CommandRow("", "c1", "Open", "Account-1", 1, 1, 0, b"")

        with pytest.raises(InvalidArgument), store.view(exclusive=True) as locked:
            locked.put([good, good._replace(id="c2", version=2)])

        with store.view() as view:
            assert list(view.rows(CommandRow)) == []

    def test_only_commands_older_than_their_time_to_live_are_pruned(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("old"))
        pass_days(store, clock, 7)
        clock.move(seconds=1)
        store.append("Account-1", texts("b"), expected_version=ANY, command=command("new"))

        planned = prune_commands(store, dry_run=True)
        done = prune_commands(store)

        assert planned == done
        assert done.commands == 1
        assert done.before == next(store.read_all()).recorded_at + timedelta(seconds=1)
        assert prune_commands(store).commands == 0
        assert store.find_command("new") is not None

    @pytest.mark.parametrize("days", [8, 20_000])
    @promise("commands-are-done-once")
    def test_a_jump_of_the_clock_makes_no_command_old(
        self, store: EventStore, clock: SettableClock, days: int
    ) -> None:
        store.append("Account-1", texts("a"), expected_version=ANY, command=command("c1"))
        clock.move(days=days)
        store.append("Account-1", texts("b"), expected_version=ANY, command=command("c2"))

        pruned = prune_commands(store)

        assert (pruned.commands, pruned.before) == (0, None)
        assert store.find_command("c1") is not None

    @promise("reactions-act-once")
    def test_the_commands_of_a_reaction_stay_until_it_has_passed_their_events(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        """A reaction may come back to an event after any time, and must not act on it twice."""
        names = [reaction_command_id("welcome", position, "x") for position in (4, 5)]
        for stream, name in enumerate([*names, reaction_command_id("gone", 1, "x")]):
            store.append(f"Account-{stream}", texts("a"), expected_version=0, command=command(name))
        store.save_record("follower", "welcome", '{"low": 4}', expected_revision=0)
        pass_days(store, clock, 8)

        again = store.append("Account-1", texts("a"), expected_version=0, command=command(names[1]))
        planned = prune_commands(store, dry_run=True)
        done = prune_commands(store)

        assert again.already_processed
        assert planned == done
        assert (done.commands, done.needed) == (2, {"welcome": 1})
        assert [store.find_command(name) is not None for name in names] == [False, True]

    @pytest.mark.parametrize("place", ['{"low": "x"}', "{}", "[]", "half of"])
    @promise("reactions-act-once")
    def test_the_commands_of_a_reaction_whose_place_cannot_be_read_stay(
        self, store: EventStore, clock: SettableClock, place: str
    ) -> None:
        """Where it goes on is decided later, and may be the first event."""
        name = reaction_command_id("welcome", 1, "x")
        store.append("Account-0", texts("a"), expected_version=0, command=command(name))
        store.append("Account-1", texts("a"), expected_version=0, command=command("c1"))
        store.save_record("follower", "welcome", place, expected_revision=0)
        pass_days(store, clock, 8)

        done = prune_commands(store)

        assert (done.commands, done.needed) == (1, {"welcome": 1})
        assert store.find_command(name) is not None

    @promise("reactions-act-once")
    def test_the_commands_of_an_event_that_is_set_aside_stay_until_it_is_decided_about(
        self, store: EventStore, clock: SettableClock
    ) -> None:
        """Its handler may have sent some before it raised, and a retry must not repeat them."""
        names = [reaction_command_id("welcome", position, "x") for position in (3, 4, 5)]
        for stream, name in enumerate(names):
            store.append(f"Account-{stream}", texts("a"), expected_version=0, command=command(name))
        store.save_record("follower", "welcome", '{"low": 5}', expected_revision=0)
        for position, decision in ((4, "null"), (5, '{"action": "skipped"}')):
            value = f'{{"decision": {decision}}}'
            key = letter_key("welcome", position)
            store.save_record(LETTER, key, value, expected_revision=0)
        pass_days(store, clock, 8)

        planned = prune_commands(store, dry_run=True)
        done = prune_commands(store)

        assert planned == done
        assert (done.commands, done.needed) == (2, {"welcome": 1})
        assert [store.find_command(name) is not None for name in names] == [False, True, False]
