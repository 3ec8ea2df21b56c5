"""A store is moved into another one while it is in use, and nothing is lost, doubled or changed."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time

import pytest

from eskit.clock import SYSTEM_CLOCK
from eskit.domain.claims import claim, release
from eskit.domain.commands import Command
from eskit.domain.events import EventRow, Metadata
from eskit.domain.streams import ANY
from eskit.errors import (
    InvalidArgument,
    ProjectError,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    Unsupported,
)
from eskit.operations import copying, log_copy
from eskit.operations.copying import abort_copy, copy_store
from eskit.operations.erasing import erase
from eskit.operations.verifying import verify
from eskit.schema.recorded import EventSchema
from eskit.store.copies import COPY_STATE
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.store.records import (
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    Record,
    Snapshot,
)
from eskit.testing.store_contract import command, text, texts
from eskit.testing.store_contract.samples import COMMAND_TTL, TEXT, snapshot
from tests.support.json_store import JsonStorage
from tests.support.writing import until

SCHEMES = ("memory", "sqlite", "postgresql")
EVERY_WAY = list(itertools.product(SCHEMES, SCHEMES))
THERE_AND_BACK = [("sqlite", "postgresql"), ("postgresql", "sqlite")]

ways = pytest.mark.parametrize(("here", "there"), EVERY_WAY)
there_and_back = pytest.mark.parametrize(("here", "there"), THERE_AND_BACK)


@pytest.fixture
def pair(new_url, here, there):
    """The URLs of a source and of a target that are not there yet."""
    return new_url(here), new_url(there)


@pytest.fixture(params=THERE_AND_BACK, ids="-".join)
def urls(request, new_url):
    """The same for both directions between SQLite and PostgreSQL."""
    return tuple(new_url(scheme) for scheme in request.param)


def fill(store: EventStore) -> None:
    """Something of everything that a store can hold."""
    store.append(
        "Account-1",
        [
            text("a", claim("name", "x"), metadata=Metadata(custom={"ü": "\n"})),
            text("b", release("name", "x"), claim("name", "y" * 3000)),
        ],
        expected_version=0,
        command=command("c1"),
    )
    store.append("Account-2", [text("c", claim("name", "x"))], expected_version=0)
    acme = store.for_tenant("acme")
    acme.append("Account-1", [text("d", claim("name", "x"))], expected_version=0)
    acme.append("Account-1", [], expected_version=ANY, command=command("c1"))
    store.append("Account-9", [], expected_version=ANY, command=command("c2"))
    store.append("Secret-1", [text("e", claim("name", "z"))], expected_version=0)
    erase(store, ["Secret-1"], reason="asked", erased_by="dpo")
    store.append("Secret-1", [text("f", claim("name", "z"))], expected_version=1)
    with store.view(exclusive=True) as locked:  # behind a gap
        last = store.find_event(store.head_position())
        later = int(last.recorded_at.timestamp() * 1_000_000) + 1
        locked.put([EventRow(99, "Old-1", 1, b"1" * 16, TEXT, later, "", "", b"", None)])
    store.save_checkpoint("relay", position=3, event_id="")
    store.save_record("follower", "welcome", '{"low": 2}', expected_revision=0)
    store.save_record("follower", "welcome", '{"low": 3}', expected_revision=1)
    *_, last = store.read_stream("Account-1")
    store.snapshots.save(snapshot(last), keep=1)


def contents(store: EventStore) -> dict[str, object]:
    """All that a store holds, but what it is in a copy and when its snapshots were made."""
    with store.view() as view:
        return {
            "id": store.store_id,
            "events": list(view.events()),
            "claims": list(view.rows(ClaimRow)),
            "commands": list(view.rows(CommandRow)),
            "erasures": list(view.rows(Erasure)),
            "schemas": list(view.rows(EventSchema)),
            "checkpoints": list(view.rows(Checkpoint)),
            "records": [r for r in view.rows(Record) if (r.kind, r.key) != COPY_STATE],
            "snapshots": [(s.stream, s.version, s.state) for s in view.rows(Snapshot)],
        }


def is_open(store: EventStore) -> bool:
    try:
        store.check_writing()
    except StoreUnavailable as error:
        return error.code not in {"STORE_MOVED", "COPY_UNFINISHED"}
    return True


# --- a copy from end to end ---


@ways
@pytest.mark.promise("copies-are-exact")
def test_a_finished_copy_holds_what_its_source_does_and_takes_its_place(pair):
    source_url, target_url = pair
    with open_store(source_url) as source:
        fill(source)

        first = copy_store(source_url, target_url)
        source.append("Account-2", texts("later"), expected_version=1, command=command("c3"))
        done = copy_store(source_url, target_url, finish=True)

        with open_store(target_url, create=False) as target:
            assert contents(target) == contents(source)
            assert [event.message for event in target.read_stream("Account-1")] == [
                event.message for event in source.read_stream("Account-1")
            ]
            assert (is_open(source), is_open(target)) == (False, True)
            assert verify(target).findings == verify(source).findings == ()
            assert target.append("Old-1", texts("b"), expected_version=1).global_position == 101
            again = target.append("Account-1", [], expected_version=ANY, command=command("c1"))
            assert again.already_processed
    assert (first.events, first.copied, first.head, first.finished) == (7, 7, 99, False)
    assert (done.events, done.copied, done.head, done.finished) == (8, 1, 100, True)
    assert done.store_id == source.store_id


@there_and_back
@pytest.mark.promise("copies-are-exact")
def test_a_store_is_moved_there_and_back_again(pair, new_url, here):
    source_url, target_url = pair
    with open_store(source_url) as source:
        fill(source)
    copy_store(source_url, target_url, finish=True)
    with open_store(target_url) as target:
        target.append("Account-2", texts("there"), expected_version=1)
        before = contents(target)
    back_url = new_url(here)

    copy_store(target_url, back_url, finish=True)

    with open_store(back_url, create=False) as back, open_store(target_url) as target:
        assert contents(back) == before
        assert (is_open(back), is_open(target)) == (True, False)


@there_and_back
@pytest.mark.promise("copies-miss-nothing")
def test_what_four_threads_append_meanwhile_is_in_the_copy_once(pair, monkeypatch):
    source_url, target_url = pair
    if source_url.startswith("sqlite"):
        source_url += "?busy_timeout=60"  # the machine may be slow
    monkeypatch.setattr(log_copy, "_BATCH", 100)
    acknowledged, refused = [], []

    def write(store, writer):
        for number in itertools.count():
            name = f"{writer}-{number}"
            try:
                result = store.append(
                    f"Account-{writer}",
                    [text(name, claim("name", name))],
                    expected_version=number,
                    command=Command(id=name, fingerprint="f", response=name.encode()),
                )
            except StoreUnavailable as error:
                refused.append(error)
                return
            acknowledged.append((result.global_position, name))
            time.sleep(0.002)

    with open_store(source_url) as source, open_store(source_url) as same:
        threads = [
            threading.Thread(target=write, args=(store, number))
            for number, store in enumerate((source, source, same, same))
        ]
        for thread in threads:
            thread.start()
        for _ in range(3):
            before = len(acknowledged)
            until(lambda before=before: len(acknowledged) > before + 50)
            copy_store(source_url, target_url)
        done = copy_store(source_url, target_url, finish=True)
        for thread in threads:
            thread.join()

        with open_store(target_url, create=False) as target:
            found = [(event.global_position, event.message.value) for event in target.read_all()]
            assert contents(target) == contents(source)
            assert verify(target).findings == ()
            assert [target.find_command(name).response for _, name in found] == [
                name.encode() for _, name in found
            ]
    assert sorted(acknowledged) == found
    assert {error.code for error in refused} == {"STORE_MOVED"}
    assert len(refused) == 4
    assert (done.events, done.head) == (len(found), len(found))


# --- until it is finished ---


@pytest.mark.promise("one-of-two-is-open")
def test_a_copy_refuses_appends_until_it_is_finished_and_says_how_that_is_done(urls):
    source_url, target_url = urls
    with open_store(source_url) as source, open_store(target_url) as before:
        fill(source)
        copy_store(source_url, target_url)

        with open_store(target_url) as target:
            for store in (before, target):
                with pytest.raises(StoreUnavailable, match="is an unfinished copy of") as refused:
                    store.append("Account-2", texts("x"), expected_version=ANY)
                assert refused.value.code == "COPY_UNFINISHED"
                assert refused.value.hint.startswith("Finish: eskit store copy ")
                assert refused.value.hint.endswith(" --finish")
        assert source.append("Account-2", texts("x"), expected_version=1).version == 2
        with pytest.raises(StoreUnavailable, match="is an unfinished copy of"):
            copy_store(target_url, source_url)


@pytest.mark.promise("one-of-two-is-open")
def test_a_moved_store_refuses_appends_in_every_process_and_says_where_it_is(urls):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
        copy_store(source_url, target_url, finish=True)

        with open_store(source_url) as opened_later:
            for store in (source, opened_later):
                with pytest.raises(StoreUnavailable, match="was moved to") as refused:
                    store.append("Account-2", texts("x"), expected_version=ANY)
                assert refused.value.code == "STORE_MOVED"
                assert refused.value.hint.endswith(" --abort")
                assert store.stream_version("Account-2") == 1


def test_a_finished_copy_can_be_finished_again(urls):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
    copy_store(source_url, target_url, finish=True)

    again = copy_store(source_url, target_url, finish=True)

    assert (again.finished, again.copied, again.events) == (True, 0, 7)


# --- giving up ---


@pytest.mark.promise("one-of-two-is-open")
def test_a_copy_that_is_given_up_leaves_the_source_open_and_the_target_shut(urls, monkeypatch):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
    monkeypatch.setattr(log_copy.LogCopy, "check_counts", _break_off)
    with pytest.raises(KeyboardInterrupt):
        copy_store(source_url, target_url, finish=True)
    with open_store(source_url) as source, open_store(target_url) as target:
        assert (is_open(source), is_open(target)) == (False, False)

        report = abort_copy(source_url, target_url)

        assert report.opened
        assert (is_open(source), is_open(target)) == (True, False)
        assert source.append("Account-2", texts("x"), expected_version=1).version == 2
        assert not abort_copy(source_url, target_url).opened
        monkeypatch.undo()
        copy_store(source_url, target_url, finish=True)
        assert (is_open(source), is_open(target)) == (False, True)
        assert contents(target) | {"id": ""} == contents(source) | {"id": ""}


def _break_off(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.promise("one-of-two-is-open")
def test_a_copy_that_is_given_up_meanwhile_is_not_finished(urls, monkeypatch):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
    check = log_copy.LogCopy.check_counts

    def give_up_first(log):
        check(log)
        abort_copy(source_url, target_url)

    monkeypatch.setattr(log_copy.LogCopy, "check_counts", give_up_first)

    with pytest.raises(StoreUnavailable, match="Another process has finished or given up"):
        copy_store(source_url, target_url, finish=True)

    with open_store(source_url) as source, open_store(target_url) as target:
        assert (is_open(source), is_open(target)) == (True, False)


@pytest.mark.promise("one-of-two-is-open")
def test_a_finished_copy_cannot_be_given_up(urls):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
        copy_store(source_url, target_url, finish=True)

        for lost in (False, True):
            with pytest.raises(StoreError, match="has taken the place of"):
                abort_copy(source_url, target_url, lost=lost)

        assert not is_open(source)


@pytest.mark.promise("one-of-two-is-open")
def test_a_copy_whose_target_cannot_be_asked_is_given_up_only_as_lost(
    new_url, tmp_path, monkeypatch
):
    source_url, target_url = new_url("sqlite"), f"sqlite:///{tmp_path}/gone.db"
    with open_store(source_url) as source:
        fill(source)
        monkeypatch.setattr(log_copy.LogCopy, "check_counts", _break_off)
        with pytest.raises(KeyboardInterrupt):
            copy_store(source_url, target_url, finish=True)
        (tmp_path / "gone.db").unlink()

        with pytest.raises(StoreUnavailable, match=r"It is not known whether .* has taken appends"):
            abort_copy(source_url, target_url)
        assert not is_open(source)
        abort_copy(source_url, target_url, lost=True)

        assert is_open(source)


def test_only_the_target_of_a_copy_gives_it_up(urls, new_url):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
    copy_store(source_url, target_url)
    for other_url in (new_url("sqlite"), new_url("postgresql")):
        with open_store(other_url) as other:
            with pytest.raises(InvalidArgument, match="is no copy of"):
                abort_copy(source_url, other_url)

            assert is_open(other)


# --- what is refused ---


def test_a_target_that_holds_something_is_refused_and_stays_as_it_is(urls):
    source_url, target_url = urls
    with open_store(source_url) as source, open_store(target_url) as target:
        fill(source)
        target.append("Account-7", texts("mine"), expected_version=0)

        with pytest.raises(ProjectError, match="is not empty: it has 1 events") as refused:
            copy_store(source_url, target_url)

        assert refused.value.code == "TARGET_EXISTS"
        assert (is_open(source), is_open(target)) == (True, True)
        assert target.store_id != source.store_id


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_store_is_not_its_own_target(new_url, scheme):
    url = new_url(scheme)
    with open_store(url) as store:
        fill(store)

        with pytest.raises(InvalidArgument, match="itself, or a copy of it that is in use"):
            copy_store(url, url, finish=True)

        assert is_open(store)


def test_a_copy_of_another_store_is_no_target(urls, new_url):
    source_url, target_url = urls
    other_url = new_url("sqlite")
    for url in (source_url, other_url):
        with open_store(url) as store:
            fill(store)
    copy_store(source_url, target_url)

    with pytest.raises(ProjectError, match="is a copy of another store"):
        copy_store(other_url, target_url)


def test_a_moved_store_is_not_moved_to_a_second_place(urls, new_url):
    source_url, target_url = urls
    with open_store(source_url) as source:
        fill(source)
    copy_store(source_url, target_url, finish=True)
    second_url = new_url("sqlite")

    with pytest.raises(StoreUnavailable, match="was moved to"):
        copy_store(source_url, second_url, finish=True)
    with pytest.raises(ProjectError, match=r"was moved to .* and is read-only"):
        copy_store(target_url, source_url)

    with open_store(second_url) as second:
        assert is_open(second)


def test_a_source_of_an_older_schema_is_refused_with_the_command_that_migrates_it(
    new_url, tmp_path
):
    with open_store(f"sqlite:///{tmp_path}/old.db"):
        pass
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    target_url = new_url("sqlite")

    with pytest.raises(StoreError) as refused:
        copy_store(f"sqlite:///{tmp_path}/old.db", target_url)

    assert refused.value.code == "SCHEMA_OUTDATED"
    assert refused.value.hint == f"Run: eskit store migrate --store sqlite:///{tmp_path}/old.db"
    assert not list(tmp_path.glob("[0-9]*.db"))


def test_a_damaged_source_is_not_copied(new_url, tmp_path):
    path = tmp_path / "source.db"
    with open_store(f"sqlite:///{path}") as source:
        fill(source)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE events SET data = x'00' WHERE global_position = 2")
    connection.close()

    with pytest.raises(StoreDamaged, match="at 2, is not what was recorded"):
        copy_store(f"sqlite:///{path}", new_url("postgresql"))


def test_a_copy_that_was_changed_is_noticed_before_the_source_is_closed(new_url, tmp_path):
    source_url, path = new_url("sqlite"), tmp_path / "target.db"
    with open_store(source_url) as source:
        fill(source)
        copy_store(source_url, f"sqlite:///{path}")
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE events SET metadata = '{}' WHERE global_position = 4")
        connection.close()

        with pytest.raises(StoreDamaged, match="has another event at 4"):
            copy_store(source_url, f"sqlite:///{path}", finish=True)

        assert is_open(source)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM claims WHERE value = 'x'",
        "INSERT INTO claims SELECT tenant, 'more', value, stream_id FROM claims",
        "UPDATE commands SET response = x'00'",
        "DELETE FROM commands",
    ],
)
def test_what_is_beside_the_log_is_put_right_when_a_copy_is_finished(new_url, tmp_path, damage):
    source_url, path = new_url("sqlite"), tmp_path / "target.db"
    with open_store(source_url) as source:
        fill(source)
        copy_store(source_url, f"sqlite:///{path}")
        with sqlite3.connect(path) as connection:
            connection.execute(damage)
        connection.close()

        copy_store(source_url, f"sqlite:///{path}", finish=True)

        with open_store(f"sqlite:///{path}") as target:
            assert contents(target) == contents(source)


def test_a_store_that_cannot_take_another_id_is_a_source_only(new_url, tmp_path, monkeypatch):
    """Of both states it can be the one that closes it."""
    source_url, target_url = "json://source", new_url("sqlite")

    def open_json_too(url, *, create=False):
        if not url.startswith("json"):
            return open_store(url, create=create)
        return EventStore(JsonStorage(tmp_path / "log.json", SYSTEM_CLOCK, COMMAND_TTL))

    monkeypatch.setattr(copying, "open_store", open_json_too)
    with open_json_too(source_url) as source:
        fill(source)
    copy_store(source_url, target_url, finish=True)

    with open_json_too(source_url) as source, open_store(target_url) as target:
        assert (is_open(source), is_open(target)) == (False, True)
        assert contents(target)["events"] == contents(source)["events"]
    (tmp_path / "log.json").unlink()
    with pytest.raises(Unsupported, match="keeps the id that it was made with"):
        copy_store(target_url, source_url)


def test_a_claim_that_postgresql_cannot_keep_is_named(new_url):
    source_url = new_url("sqlite")
    with open_store(source_url) as source:
        source.append("Account-1", [text("a", claim("name", "x\0"))], expected_version=0)

        with pytest.raises(StoreError, match="cannot be copied: PostgreSQL does not keep") as error:
            copy_store(source_url, new_url("postgresql"))

        assert error.value.hint.startswith("Leave out NUL characters")
        assert is_open(source)


# --- what changes between two copies ---


@there_and_back
@pytest.mark.promise("erased-is-erased")
def test_what_is_erased_between_two_copies_is_erased_in_the_copy(pair, tmp_path, monkeypatch):
    source_url, target_url = pair
    monkeypatch.setattr(log_copy, "_BATCH", 2)
    # While the target is open, what was written into its WAL stays there.
    with open_store(source_url) as source, open_store(target_url) as target:
        assert target.head_position() == 0
        fill(source)
        source.append(
            "Account-3",
            [text("confidential", claim("name", "bob"))],
            expected_version=0,
            command=Command(id="c9", fingerprint="f", response=b"confidential"),
        )
        copy_store(source_url, target_url)
        source.append("Account-3", texts("confidential too"), expected_version=1)
        erase(source, ["Account-3"], reason="asked", erased_by="dpo")
        source.append("Account-3", [text("open", claim("name", "bob"))], expected_version=2)
        source.append("New-1", texts("confidential"), expected_version=0)
        erase(source, ["New-1"], reason="asked", erased_by="dpo")
        source.append("New-1", texts("open"), expected_version=1)

        copy_store(source_url, target_url, finish=True)

        with open_store(target_url) as opened:
            assert contents(opened) == contents(source)
            assert verify(opened).findings == ()
        for file in tmp_path.glob("[0-9]*.db*"):
            assert b"confidential" not in file.read_bytes(), file


@there_and_back
def test_commands_that_are_forgotten_between_two_copies_are_forgotten_in_the_copy(pair):
    source_url, target_url = pair
    with open_store(source_url) as source:
        fill(source)
        copy_store(source_url, target_url)
        with source.view(exclusive=True) as locked:
            locked.drop([row for row in list(locked.rows(CommandRow)) if row.id == "c2"])

        copy_store(source_url, target_url, finish=True)

        with open_store(target_url) as target:
            assert target.find_command("c2") is None
            assert contents(target)["commands"] == contents(source)["commands"]
