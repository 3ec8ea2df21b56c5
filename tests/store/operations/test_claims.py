"""Claims rebuilt while others write."""

import pytest

from eskit.domain.claims import claim, release
from eskit.domain.commands import Command
from eskit.domain.streams import ANY
from eskit.errors import ClaimTaken, StoreDamaged
from eskit.operations.claims import check_claims, rebuild_claims
from eskit.store.open import open_store
from eskit.store.records import Erasure
from eskit.testing.maintenance_contract import claims
from eskit.testing.store_contract import text

URL = "sqlite:///log.db"


def once(work):
    """What progress calls: runs `work` the first time, before writers have to wait."""
    done = []

    def report(_progress):
        if not done:
            done.append(work())

    return report


@pytest.fixture
def store():
    with open_store(URL) as store:
        store.append("Account-1", [text("a", claim("name", "x"))], expected_version=ANY)
        store.append("Account-2", [text("b", claim("name", "y"))], expected_version=ANY)
        yield store


def test_events_that_are_appended_while_claims_are_rebuilt_count(store):
    def move():
        store.append("Account-1", [text("c", release("name", "x"))], expected_version=ANY)
        store.append("Account-2", [text("d", claim("name", "x"))], expected_version=ANY)

    report = rebuild_claims(store, progress=once(move))

    assert report.count == 0
    assert store.find_claim("name", "x") == "Account-2"
    assert check_claims(store).count == 0


def test_a_stream_that_is_erased_while_claims_are_rebuilt_gets_none_back(store):
    def erase_it():
        erasure = Erasure(
            stream="Account-1",
            tenant="",
            version=0,
            events=0,
            erased_at=store.clock.now,
            erased_by="dpo",
            reason="asked",
        )
        with store.view(exclusive=True) as locked:  # files are not cleared while somebody reads
            locked.erase(erasure)

    report = rebuild_claims(store, progress=once(erase_it))

    assert report.count == 0
    assert [held.value for held in claims(store)] == ["y"]


def test_a_log_that_gives_a_value_to_two_streams_is_refused_and_left_alone(store):
    before = claims(store)
    with store.view(exclusive=True) as locked:
        locked._connection.execute(
            """UPDATE events SET claims = '[["claim","name","x"]]' WHERE global_position = 2"""
        )

    with pytest.raises(ClaimTaken):
        rebuild_claims(store)

    assert claims(store) == before


@pytest.mark.parametrize(
    ("lost", "loss"),
    [
        (3, "Version 3 of Account-1 follows version 1"),
        (4, "Command 'c1' led to version 3 of Account-1 at 4, which is not there"),
    ],
    ids=["in the middle", "at the end"],
)
@pytest.mark.promise("claims-can-be-rebuilt")
def test_claims_are_not_made_from_a_log_that_lacks_events(store, lost, loss):
    command = Command(id="c1", fingerprint="Open")
    events = [text("c", claim("name", "lost")), text("d")]
    store.append("Account-1", events, expected_version=1, command=command)
    before = claims(store)
    with store.view(exclusive=True) as locked:
        locked._connection.execute("DELETE FROM events WHERE global_position = ?", (lost,))

    checked = check_claims(store)
    with pytest.raises(StoreDamaged, match="a log that lacks events") as refused:
        rebuild_claims(store)

    assert loss in str(refused.value)
    assert "backup" in refused.value.hint
    assert (checked.loss, claims(store)) == (loss, before)


@pytest.mark.parametrize("written", ["[1]", "{", "5", '[["claim","name",5]]'])
def test_claims_that_cannot_be_read_are_named(store, written):
    with store.view(exclusive=True) as locked:
        statement = "UPDATE events SET claims = ? WHERE global_position = 2"
        locked._connection.execute(statement, (written,))

    for work in (check_claims, rebuild_claims):
        with pytest.raises(StoreDamaged, match="claims of the event at 2 cannot be read"):
            work(store)
