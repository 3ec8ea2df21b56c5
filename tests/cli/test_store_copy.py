"""``eskit store copy``: what it shows, how it ends, and what Ctrl-C leaves."""

import pytest

from eskit import ANY, NewEvent, open_store
from eskit.errors import StoreDamaged
from eskit.operations import log_copy
from eskit.schema.response_pb2 import AppError


@pytest.fixture
def target_url(tmp_path):
    return f"sqlite:///{tmp_path}/copy.db"


def append(url):
    with open_store(url) as store:
        store.append("Thing-a1", [NewEvent(AppError(code="MORE"))], expected_version=ANY)


@pytest.mark.parametrize("columns", ["80", "200"])
def test_a_copy_says_what_it_holds_and_what_to_do_next(
    cli, store_url, target_url, columns, monkeypatch
):
    monkeypatch.setenv("COLUMNS", columns)

    copied = cli("store", "copy", store_url, target_url)
    again = cli("store", "copy", store_url, target_url, "--json")
    append(store_url)
    finished = cli("store", "copy", store_url, target_url, "--finish")

    first, second, *_, last = copied.out.splitlines()
    assert (copied.code, copied.err) == (0, "")
    assert first == f"{target_url}  2 events up to 2, the same as in {store_url}"
    assert second == "  copied    2 events now"
    assert last == f"Next: eskit store copy {store_url} {target_url} --finish"
    assert again.json["data"]["copied"] == 0
    assert again.json["data"]["finished"] is False
    first, *_, last_but_one, last = finished.out.splitlines()
    assert first == f"{target_url}  3 events up to 3, in the place of {store_url}"
    assert last_but_one == f"{store_url} is read-only."
    assert last == f'Next: set store = "{target_url}", and start the processes again'


def test_what_a_store_is_in_a_copy_is_shown_with_it(cli, store_url, target_url):
    cli("store", "copy", store_url, target_url)
    unfinished = cli("store", "info", "--store", target_url)
    cli("store", "copy", store_url, target_url, "--finish")
    moved = cli("store", "info", "--store", store_url)
    as_json = cli("store", "info", "--store", store_url, "--json").json["data"]["copy"]
    opened = cli("store", "info", "--store", target_url)

    assert f"  copy      it is an unfinished copy of {store_url}" in unfinished.out.splitlines()
    assert f"  copy      it was moved to {target_url} and is read-only" in moved.out.splitlines()
    assert (as_json["role"], as_json["other"]) == ("source", target_url)
    assert "  copy" not in opened.out


def test_a_moved_store_is_named_where_something_would_change_it(cli, store_url, target_url):
    cli("store", "copy", store_url, target_url, "--finish")

    refused = cli(
        *("stream", "erase", "Thing-a1", "--reason", "x", "--yes", "--store", store_url, "--json")
    )

    assert refused.code == 1
    assert refused.json["error"]["code"] == "STORE_MOVED"
    assert f"was moved to {target_url} and is read-only" in refused.json["error"]["message"]
    assert f"store copy {store_url} {target_url} --abort" in refused.json["error"]["hint"]


def test_a_finished_copy_is_not_given_up(cli, store_url, target_url):
    cli("store", "copy", store_url, target_url, "--finish")

    refused = cli("store", "copy", store_url, target_url, "--abort")

    assert (refused.code, refused.out) == (1, "")
    assert "has taken the place of" in refused.err


@pytest.mark.promise("interrupted-commands-report")
def test_an_interrupted_copy_says_what_it_leaves_and_the_command_again_resumes(
    cli, store_url, target_url, monkeypatch
):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(log_copy.LogCopy, "compare", interrupt)
    open_still = cli("store", "copy", store_url, target_url, "--finish")
    monkeypatch.undo()
    monkeypatch.setattr(log_copy.LogCopy, "check_counts", interrupt)
    closed = cli("store", "copy", store_url, target_url, "--finish")
    monkeypatch.undo()
    given_up = cli("store", "copy", store_url, target_url, "--abort")
    append(store_url)
    finished = cli("store", "copy", store_url, target_url, "--finish", "--json")

    assert (open_still.code, closed.code) == (130, 130)
    assert f"{target_url} is kept: run the command again to resume" in open_still.err
    assert f"{store_url} is read-only: run the command again, or with --abort" in closed.err
    assert given_up.out.splitlines() == [
        f"{store_url} takes appends again",
        f"{target_url} refuses appends: remove it, or copy into it again",
    ]
    assert finished.json["data"]["events"] == 3


def test_an_error_after_the_source_was_closed_says_so(cli, store_url, target_url, monkeypatch):
    def fail(log):
        raise StoreDamaged(f"It has 1 claims, not 2, up to {log.head}", hint="Remove it.")

    monkeypatch.setattr(log_copy.LogCopy, "check_counts", fail)

    failed = cli("store", "copy", store_url, target_url, "--finish", "--json")

    assert failed.code == 1
    assert failed.json["error"]["hint"].endswith(
        f"{store_url} is read-only until you run this again, or with --abort."
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--finish", "--abort"], "--finish or --abort"), (["--yes"], "It goes with --abort")],
)
def test_options_that_do_not_go_together_are_wrong_usage(cli, store_url, target_url, options, told):
    ran = cli("store", "copy", store_url, target_url, *options)

    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_a_store_is_named_by_a_url(cli, store_url):
    ran = cli("store", "copy", store_url, "copy.db")

    assert ran.code == 2
    assert "'copy.db' is not a store URL" in ran.err
