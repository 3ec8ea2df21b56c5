"""Commands that need a store and no project."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from eskit import ANY, NO_STREAM, NewEvent, claim, open_store
from eskit.reports.events import step_object
from eskit.schema.response_pb2 import AppError
from eskit.store.replay import ReplayStep
from tests.support.unknown_events import forget_schemas, make_message


def test_store_info_shows_counts(cli, store_url):
    ran = cli("store", "info", "--store", store_url, "--json")

    data = ran.json["data"]
    assert ran.code == 0
    assert (data["events"], data["streams"], data["head"]) == (2, 1, 2)
    assert data["bytes"] > 0
    assert data["url"] == store_url
    assert set(data) >= {"store_id", "schema_version", "commands"}
    assert (data["claims"], data["snapshots"], data["erasures"]) == (0, 0, 0)
    assert data["first_recorded_at"] <= data["last_recorded_at"]
    assert data["last_recorded_at"].endswith("Z")


def test_store_info_says_when_the_first_and_the_last_event_were_recorded(cli, store_url):
    shown = cli("store", "info", "--store", store_url)
    empty = cli("store", "init", "--store", "sqlite:///empty.db", "--json")

    lines = [line.split() for line in shown.out.splitlines()]
    assert ["first", "event"] in [line[:2] for line in lines]
    assert ["last", "event"] in [line[:2] for line in lines]
    assert ["erasures", "0"] in lines
    assert (empty.code, empty.json["data"]["first_recorded_at"]) == (0, None)


def test_store_info_shows_the_settings_it_was_opened_with(cli, store_url):
    url = f"{store_url}?synchronous=normal&command_ttl_days=3"

    as_json = cli("store", "info", "--store", url, "--json")
    as_text = cli("store", "info", "--store", url)

    assert as_json.json["data"]["settings"] == {
        "synchronous": "normal",
        "busy_timeout": 5.0,
        "command_ttl_days": 3.0,
    }
    assert "  synchronous=normal\n" in as_text.out
    assert "  command_ttl_days=3\n" in as_text.out


def test_store_init_creates_the_file_and_a_second_one_changes_nothing(cli, tmp_path):
    first = cli("store", "init", "--store", "sqlite:///new.db", "--json")
    second = cli("store", "init", "--store", "sqlite:///new.db", "--json")

    assert (first.code, second.code) == (0, 0)
    assert (tmp_path / "new.db").is_file()
    assert first.json["data"]["store_id"] == second.json["data"]["store_id"]


def test_migrating_a_store_that_is_up_to_date_changes_nothing(cli, store_url):
    ran = cli("store", "migrate", "--store", store_url, "--json")

    data = ran.json["data"]
    assert ran.code == 0
    assert data["before"] == data["after"]
    assert data["backup"] is None
    assert "Nothing to migrate" in cli("store", "migrate", "--store", store_url).out


@pytest.mark.parametrize(
    "command", [["store", "info"], ["stream", "list"], ["stream", "read", "A-1"]]
)
@pytest.mark.promise("reading-creates-nothing")
def test_reading_never_creates_a_store(cli, tmp_path, command):
    ran = cli("--store", "sqlite:///none.db", *command)

    assert ran.code == 1
    assert "none.db" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_stream_list_shows_every_stream(cli, store_url):
    ran = cli("stream", "list", "--store", store_url, "--json")

    (stream,) = ran.json["data"]
    assert stream["stream"] == "Thing-a1"
    assert stream["category"] == "Thing"
    assert stream["version"] == 2
    assert stream["first_recorded_at"].endswith("Z")
    assert stream["last_recorded_at"] >= stream["first_recorded_at"]


def test_stream_list_says_when_there_is_more(cli, store_url):
    with open_store(store_url) as store:
        store.append("Thing-b2", [NewEvent(AppError(code="X"))], expected_version=0)

    ran = cli("stream", "list", "--limit", "1", "--store", store_url)

    assert ran.out.splitlines()[0].startswith("Thing-a1  2 events")
    assert "--limit" in ran.err


def test_stream_read_prints_an_event_object_a_line(cli, store_url):
    ran = cli("stream", "read", "Thing-a1", "--store", store_url, "--json")

    first, second = ran.records
    assert set(first) == {
        *("global_position", "stream", "version", "event_id", "event_type"),
        *("recorded_at", "tenant", "metadata", "data"),
    }
    assert first["data"] == {"code": "ONE", "message": "first", "solution": "", "details": {}}
    assert second["metadata"]["principal_id"] == "bob"
    assert second["metadata"]["custom"] == {"shop": "7"}


def test_stream_read_shows_set_fields_and_who(cli, store_url):
    ran = cli("stream", "read", "Thing-a1", "--store", store_url)

    assert ran.out.splitlines()[0] == "Thing-a1 · 2 events"
    assert '       code     "ONE"' in ran.out
    assert '       details.k  "v"' in ran.out
    assert "by bob" in ran.out
    assert "solution" not in ran.out


def test_stream_read_bounds_are_exclusive_and_backward_turns_round(cli, store_url):
    def versions(*options: str) -> list[int]:
        ran = cli("stream", "read", "Thing-a1", *options, "--store", store_url, "--json")
        return [record["version"] for record in ran.records]

    assert versions("--after", "1") == [2]
    assert versions("--limit", "1") == [1]
    assert versions("--backward") == [2, 1]


def test_a_misspelt_stream_suggests_the_nearest(cli, store_url):
    for typed in ("thing-a1", "Thing-a11", "Thnig-a1"):
        ran = cli("stream", "read", typed, "--store", store_url)

        assert ran.code == 1
        assert ran.out == ""
        assert "Did you mean Thing-a1?" in ran.err


def test_an_event_nobody_can_decode_is_shown_as_bytes(cli, store_url):
    unknown = make_message("nobody.v1.KnowsEvent", "what")
    with open_store(store_url) as store:
        store.append("Thing-u", [NewEvent(unknown(what="x"))], expected_version=ANY)
    forget_schemas(store_url)

    as_json = cli("stream", "read", "Thing-u", "--store", store_url, "--json")
    shown = cli("stream", "read", "Thing-u", "--store", store_url)
    tail = cli("tail", "--no-follow", "--source", "store", "--store", store_url)

    (record,) = as_json.records
    assert (as_json.code, shown.code, tail.code) == (0, 0, 0)
    assert record["data_base64"] == "CgF4"
    assert record["diagnostics"][0]["code"] == "UNKNOWN_EVENT_TYPE"
    assert "data" not in record
    assert "No message class for event type 'nobody.v1.KnowsEvent' (3 bytes)" in shown.out
    assert "3 bytes, not decoded" in tail.out


def is_beyond(shown):
    """Whether the fields and the reason of a time beyond the calendar are shown."""
    reason = shown.pop("@problem")
    return shown == {"seconds": str(10**15), "nanos": 0} and reason.startswith("Timestamp is not")


def test_an_event_without_a_json_form_hides_no_other(cli, store_url):
    beyond = Timestamp(seconds=10**15)
    with open_store(store_url) as store:
        for message in (Timestamp(seconds=1), beyond, Timestamp(seconds=2)):
            store.append("Thing-t", [NewEvent(message)], expected_version=ANY)

    as_json = cli("stream", "read", "Thing-t", "--store", store_url, "--json")
    shown = cli("stream", "read", "Thing-t", "--store", store_url)
    stream = ("--source", "store", "--stream", "Thing-t", "--from", "first")
    tail = cli("tail", "--no-follow", *stream, "--store", store_url)

    assert (as_json.code, shown.code, tail.code) == (0, 0, 0)
    assert [record["version"] for record in as_json.records] == [1, 2, 3]
    assert is_beyond(as_json.records[1]["data"])
    assert "Timestamp is not valid" in shown.out
    assert len(tail.out.splitlines()) == 3


def test_a_replay_goes_on_after_a_state_without_a_json_form(store_url):
    with open_store(store_url) as store:
        store.append("Thing-t", [NewEvent(Timestamp(seconds=10**15))], expected_version=ANY)
        (event,) = store.read_stream("Thing-t")
    step = ReplayStep(event=event, version=1, before=Timestamp(), after=Timestamp(seconds=10**15))

    shown = step_object(step)

    assert shown["changes"]
    assert is_beyond(shown["state"])
    assert is_beyond(shown["data"])


def test_a_tail_that_finds_nothing_says_so(cli, store_url):
    ran = cli(
        "tail", "--no-follow", "--source", "store", "--stream", "Thnig-a1", "--store", store_url
    )
    as_json = cli("tail", "--no-follow", "--type", "Nope", "--store", store_url, "--json")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "No stream Thnig-a1 yet. Did you mean Thing-a1?\nno events\n"
    assert (as_json.code, as_json.out) == (0, "")
    assert as_json.err == "No event of type Nope yet.\n"


EVIL = "\x1b[31mred\x1b[0m [bold]b[/bold] [link=x]y[/] \x9b2J\u202e\r\nnext"


@pytest.mark.promise("payloads-cannot-control-the-terminal")
def test_payloads_with_control_codes_and_markup_are_shown_harmlessly(cli, store_url):
    with open_store(store_url) as store:
        store.append("Thing-e", [NewEvent(AppError(message=EVIL))], expected_version=ANY)

    for command in (
        ["stream", "read", "Thing-e"],
        ["tail", "--from", "first", "--no-follow", "--source", "store"],
    ):
        ran = cli(*command, "--store", store_url)
        assert ran.code == 0
        assert "[bold]b[/bold] [link=x]y[/]" in ran.out
        assert all(line.isprintable() for line in ran.out.split("\n"))
        as_json = cli(*command, "--store", store_url, "--json")
        assert as_json.records[-1]["data"]["message"] == EVIL
        assert all(line.isprintable() for line in as_json.out.split("\n"))


def test_a_closed_pipe_is_a_clean_end(store_url, tmp_path):
    from tests.support.running import start

    with open_store(store_url) as store:
        big = [NewEvent(AppError(message="x" * 500)) for _ in range(1000)]
        store.append("Thing-big", big, expected_version=ANY)

    process = start("stream", "read", "Thing-big", "--json", "--store", store_url, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_file_that_is_no_store_is_refused_untouched(cli, tmp_path):
    (tmp_path / "notes.db").write_text("not a database, but long enough to have a header" * 9)

    ran = cli("store", "info", "--store", "sqlite:///notes.db", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "STORE_NOT_RECOGNISED"
    assert (tmp_path / "notes.db").read_text().startswith("not a database")


def test_a_store_url_that_names_nothing_is_wrong_usage(cli):
    ran = cli("store", "info", "--store", "oracle://x", "--json")

    assert ran.code == 2
    assert ran.json["status"] == "error"
    assert ran.json["error"]["code"] == "INVALID_ARGUMENT"


def test_a_path_in_place_of_a_url_is_answered_with_the_url(cli, tmp_path):
    ran = cli("store", "info", "--store", f"{tmp_path}/notes #1.db", "--json")

    assert ran.code == 2
    assert f"sqlite:///{tmp_path}/notes %231.db" in ran.json["error"]["hint"]


def test_a_store_is_made_in_the_chosen_folder_whatever_that_is_called(cli, tmp_path):
    folder = tmp_path / "100%25 #1"
    folder.mkdir()

    ran = cli("-C", str(folder), "store", "init", "--store", "sqlite:///notes%3F.db")

    assert ran.code == 0
    assert (folder / "notes?.db").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_store_can_be_read(cli, store_url):
    Path(store_url.removeprefix("sqlite:///")).chmod(0o444)

    assert cli("stream", "list", "--store", store_url).code == 0


def test_json_is_one_line_per_result(cli, store_url):
    ran = cli("stream", "list", "--store", store_url, "--json")

    assert ran.out.count("\n") == 1
    assert list(json.loads(ran.out)) == ["version", "status", "data", "error", "diagnostics"]


@pytest.mark.promise("cut-lists-say-so")
def test_a_list_that_was_cut_says_so_in_json_as_well(cli, store_url):
    with open_store(store_url) as store:
        for name in ("b1", "b2"):
            new = NewEvent(AppError(), claims=[claim("code", name)])
            store.append(f"Thing-{name}", [new], expected_version=NO_STREAM)

    for command, entries in ((("stream", "list"), 3), (("claim", "list"), 2)):
        cut = cli(*command, "--limit", "1", "--store", store_url, "--json").json
        shown = cli(*command, "--limit", "1", "--store", store_url)
        whole = cli(*command, "--limit", str(entries), "--store", store_url, "--json").json

        (diagnostic,) = cut["diagnostics"]
        assert (cut["status"], len(cut["data"])) == ("ok", 1)
        assert (diagnostic["severity"], diagnostic["code"]) == ("info", "MORE_THAN_LIMIT")
        assert shown.err.startswith("More than 1: raise --limit or give a")
        assert (len(whole["data"]), whole["diagnostics"]) == (entries, [])


def test_a_tenant_without_streams_is_told_who_has_some(cli, store_url):
    with open_store(store_url) as store:
        store.for_tenant("acme").append("Thing-b1", [NewEvent(AppError())], expected_version=ANY)

    def hint(*args):
        ran = cli("stream", "read", *args, "--store", store_url, "--json")
        assert ran.code == 1
        return json.loads(ran.err)["error"]["hint"]

    assert hint("Thing-z9", "--tenant", "foo") == (
        "Tenant foo has no streams. Tenants with streams: acme"
    )
    assert hint("Thing-b1") == "Tenant acme has one of this name: give --tenant acme"
    assert hint("Thing-b2", "--tenant", "acme") == "Did you mean Thing-b1?"


def test_only_an_empty_store_is_said_to_have_no_streams(cli, store_url, tmp_path):
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    open_store(empty).close()

    alone = cli("stream", "read", "Thing-z9", "--store", empty)
    foreign = cli("stream", "read", "Thing-a1", "--tenant", "foo", "--store", store_url)

    assert "The store has no streams yet." in alone.err
    assert "Tenant foo has no streams: leave --tenant out" in foreign.err


def test_a_version_or_position_beyond_the_end_is_said_to_be_one(cli, store_url):
    store = ("--store", store_url)

    replayed = cli("replay", "Thing-a1", "--no-state", "--to-version", "99", *store)
    whole = cli("replay", "Thing-a1", "--no-state", "--to-version", "2", *store)
    read = cli("stream", "read", "Thing-a1", "--after", "99", *store)
    tailed = cli("tail", "--after", "1999", "--no-follow", *store)
    ended = cli("tail", "--after", "2", "--no-follow", *store)

    assert replayed.err == "No version 99 yet: Thing-a1 ends at version 2\n"
    assert whole.err == ""
    assert read.err == "Nothing after 99: Thing-a1 ends at version 2\n"
    assert tailed.err == "Nothing after 1,999 yet: the log ends at 2\nno events\n"
    assert ended.err == "no events\n"
