"""A forked process and the stores that its parent had open."""

from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable
from eskit.files import descriptors as descriptors_module
from eskit.operations.pruning import prune_commands
from eskit.store.open import open_store
from eskit.testing.store_contract import texts
from tests.support.forked import forked

URL = "sqlite:///log.db"


def append(store, *values):
    return store.append("Account-1", texts(*values), expected_version=ANY).version


def open_and_append(url, *values):
    with open_store(url) as store:
        return append(store, *values)


@pytest.fixture
def store():
    with open_store(URL) as store:
        append(store, "a")
        yield store


def refusal_of(work):
    """The text and the hint of the error that a forked child gets."""

    def run():
        try:
            work()
        except StoreUnavailable as error:
            return [str(error), error.hint]
        return []

    return forked(run)


@pytest.mark.parametrize("descriptors", ["/dev/fd", "/no/such/folder"])
@pytest.mark.promise("forks-are-refused")
def test_a_forked_process_may_not_open_what_was_open_when_it_was_forked(
    store, monkeypatch, descriptors
):
    monkeypatch.setattr(descriptors_module, "_DESCRIPTORS", descriptors)

    refused, hint = refusal_of(lambda: open_and_append(URL, "lost"))

    assert "log.db was open when this process was forked" in refused
    assert "spawn" in hint
    assert append(store, "b") == 2


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_forked_process_may_not_open_it_by_another_name_either(store, link):
    link(Path("other.db"), "log.db")

    refused, _ = refusal_of(lambda: open_and_append("sqlite:///other.db", "lost"))

    assert "open when this process was forked" in refused


def test_a_process_forked_by_a_forked_process_may_not_open_it_either(store):
    refused, _ = forked(lambda: refusal_of(lambda: open_and_append(URL, "lost")))

    assert "open when this process was forked" in refused


def test_what_was_taken_from_a_store_before_the_fork_is_refused_after_it(store):
    snapshots, reading = store.snapshots, store.read_all()

    uses = [
        lambda: append(store, "lost"),
        store.head_position,
        lambda: prune_commands(store),
        lambda: next(reading),
        lambda: snapshots.prune(keep=1),
    ]

    assert all("forked" in refusal_of(use)[0] for use in uses)
    assert "spawn" in refusal_of(store.head_position)[1]


@pytest.mark.promise("forks-are-refused")
def test_a_store_that_was_closed_before_the_fork_is_used_in_the_child(store):
    store.close()

    version = forked(lambda: open_and_append(URL, "b", "c"))

    assert version == 3
    with open_store(URL) as again:
        assert again.stream_version("Account-1") == 3


def test_a_store_that_was_not_open_at_the_fork_is_used_in_the_child(store):
    assert forked(lambda: open_and_append("sqlite:///other.db", "a")) == 1
    assert open_and_append("sqlite:///other.db", "b") == 2
