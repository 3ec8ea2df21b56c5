"""A stream event by event, with what each changed."""

from datetime import timedelta

import pytest

from eskit.domain.events import NewEvent
from eskit.errors import InvalidArgument, StreamNotFound
from eskit.store.replay import StateChange, find_changes, replay
from eskit.store.repository import Repository
from eskit.testing.store_contract import SettableClock
from tests.support.ledger import UPCASTERS, DepositedEvent, Ledger, LimitedEvent, OpenedEventV1
from tests.support.stores import memory_store


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture
def store(clock):
    with memory_store(clock=clock) as store:
        for message in (
            OpenedEventV1(name="ann"),
            DepositedEvent(amount=5),
            LimitedEvent(amount=100),
            DepositedEvent(amount=7),
        ):
            store.append(
                "Ledger-l-1",
                [NewEvent(message)],
                expected_version=store.stream_version("Ledger-l-1"),
            )
            clock.move(hours=1)
        yield store


def run(store, stream="Ledger-l-1", **bounds):
    return list(replay(store, Ledger, stream, upcasters=UPCASTERS, **bounds))


def changes(step):
    return [(change.path, change.old, change.new) for change in step.changes]


def test_every_step_shows_the_event_and_what_it_changed(store):
    steps = run(store)

    assert [step.version for step in steps] == [1, 2, 3, 4]
    assert steps[0].event.event_type == "tests.ledger.v1.OpenedEventV1"
    assert changes(steps[0]) == [("owner", "", "Ann")]
    assert changes(steps[1]) == [("balance", "0", "5"), ("notes.0", None, "5 at 2")]
    assert changes(steps[2]) == [("limit", None, {"amount": "100"})]
    assert changes(steps[3]) == [("balance", "5", "12"), ("notes.1", None, "7 at 4")]


@pytest.mark.promise("state-is-the-fold")
def test_the_last_step_is_what_the_application_loads(store):
    loaded = Repository(store, Ledger, upcasters=UPCASTERS).load("l-1")

    last = run(store)[-1]

    assert last.version == loaded.version
    assert last.state["balance"] == str(loaded.state.balance)


def test_a_replay_ends_at_a_version_or_a_time(store, clock):
    assert [step.version for step in run(store, to_version=2)] == [1, 2]
    assert [step.version for step in run(store, at=clock.now - timedelta(hours=3))] == [1, 2]
    assert run(store, at=clock.now - timedelta(days=1)) == []


def test_a_replay_of_nothing_says_so_at_once(store):
    with pytest.raises(StreamNotFound):
        replay(store, Ledger, "Ledger-l-9")
    with pytest.raises(InvalidArgument):
        replay(store, Ledger, "Account-1")
    with pytest.raises(InvalidArgument):
        replay(store, Ledger, "Ledger-l-1", to_version=0)


def test_changes_have_dotted_paths():
    old = {"a": {"b": 1, "gone": 2}, "list": [1, {"c": 2}], "same": [1]}
    new = {"a": {"b": 3}, "list": [1, {"c": 4}, 5], "same": [1], "new": True}

    found = list(find_changes(old, new))

    assert found == [
        StateChange(path="a.b", old=1, new=3),
        StateChange(path="a.gone", old=2, new=None, removed=True),
        StateChange(path="list.1.c", old=2, new=4),
        StateChange(path="list.2", old=None, new=5, added=True),
        StateChange(path="new", old=None, new=True, added=True),
    ]


@pytest.mark.parametrize("bounds", [{}, {"to_version": 3}, {"to_version": 1}])
@pytest.mark.promise("replay-runs-backward")
def test_a_replay_backward_shows_the_same_steps_in_reverse(store, bounds):
    assert run(store, backward=True, **bounds) == run(store, **bounds)[::-1]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("bounds", [{}, {"to_version": 3}])
def test_a_replay_may_show_a_part_with_the_state_of_the_whole(store, bounds, backward):
    steps = run(store, backward=backward, **bounds)

    part = run(store, backward=backward, after=1, limit=2, **bounds)

    assert part == [step for step in steps if step.version > 1][:2]
    assert run(store, backward=backward, after=4, **bounds) == []


def test_a_replay_backward_starts_at_a_time(store, clock):
    clock.move(hours=-2)

    steps = run(store, at=clock.now, backward=True)

    assert [step.version for step in steps] == [3, 2, 1]


@pytest.mark.parametrize("count", [252, 253, 700])
def test_a_long_replay_backward_is_folded_in_blocks(store, count):
    deposits = [NewEvent(DepositedEvent(amount=1)) for _ in range(count + 4)]
    store.append("Ledger-l-2", deposits[:count], expected_version=0)
    store.append("Ledger-l-2", deposits[count:], expected_version=count)

    steps = run(store, stream="Ledger-l-2", backward=True)

    assert [step.version for step in steps] == list(range(count + 4, 0, -1))
    assert [int(step.state["balance"]) for step in steps] == list(range(count + 4, 0, -1))
    assert changes(steps[0])[0] == ("balance", str(count + 3), str(count + 4))
    assert run(store, stream="Ledger-l-2", backward=True, after=250) == steps[: count + 4 - 250]
    assert run(store, stream="Ledger-l-2", backward=True, limit=3) == steps[:3]
