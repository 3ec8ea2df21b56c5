"""What `eskit relay` tells while it follows the log."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, open_store
from eskit.nats.connection import connected
from eskit.nats.jetstream import api, find_stream, publish
from tests.support.running import DEPOSIT, configure, eskit, free_port, interrupt, move, read_until


def test_a_following_relay_tells_of_changes_and_not_of_each_event(launch, bank):
    configure(bank, nats_server_port=free_port())
    server = launch("nats", "start", cwd=bank)
    read_until(server, "until Ctrl-C")
    relay = launch("relay", cwd=bank)
    told = read_until(relay, "up to date", stream="stderr")
    tail = launch("tail", "--from", "-1", "--json", "--source", "nats", cwd=bank)
    read_until(tail, "AccountOpened")

    for amount in ("1.00", "2.00", "3.00"):
        move(bank, DEPOSIT, "acc-001", amount)
        read_until(tail, f'"{amount}"')
    interrupt(server)
    move(bank, DEPOSIT, "acc-001", "4.00")
    away = read_until(relay, "waiting for NATS", stream="stderr")
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    back = read_until(relay, "up to date", stream="stderr")
    ended = interrupt(relay)

    assert told == ["up to date  position 4\n"]
    assert [line.partition("  ")[0] for line in away] == ["waiting for NATS"]
    assert back == ["up to date  position 8\n"]
    assert ended.code == 0
    assert ended.out.endswith("up to position 8\n")


def test_status_says_whether_a_relay_runs_and_how_far_it_is(launch, bank):
    before = eskit("relay", "--status", "--json", cwd=bank).json["data"]
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    relay = launch("relay", cwd=bank)
    read_until(relay, "up to date", stream="stderr")
    running = eskit("relay", "--status", cwd=bank)
    interrupt(relay)
    after = eskit("relay", "--status", "--json", cwd=bank).json["data"]

    assert before == {
        "state": "stopped",
        "pid": None,
        "host": None,
        "position": 0,
        "head": 4,
        "other_store": False,
        "error": "",
        "skipped": [],
    }
    assert running.out == f"running in process {relay.pid}\nposition 4 of 4\n"
    assert after == {**before, "position": 4}


def test_of_the_relay_checkpoint_list_shows_how_far_it_is_in_the_log_and_no_more(launch, bank):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0

    listed = eskit("checkpoint", "list", "--json", cwd=bank).json["data"]

    relays = [(c["name"], c["position"]) for c in listed if c["name"].startswith("relay")]
    assert relays == [("relay", 4)]


def test_republish_runs_the_embedded_server_for_as_long_if_none_runs(bank):
    first = eskit("relay", "--republish", "--yes", "--json", cwd=bank)
    again = eskit("relay", "--republish", "--yes", "--json", cwd=bank)

    assert first.json["data"] == {"published": 4, "position": 4, "skipped": 0, "replaced": None}
    assert again.json["data"] == first.json["data"]
    assert not (bank / ".eskit" / "nats.json").exists()


def append_large(bank, size):
    """An event that commands cannot make: appended by code, larger than the server takes."""
    with open_store(f"sqlite:///{bank}/bank.db") as store:
        event = NewEvent(StringValue(value="x" * size))
        return store.append("Video-1", [event], expected_version=ANY).global_position


def ask_health(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - what eskit printed
            services = json.load(answer)["services"]
    except urllib.error.HTTPError as error:
        services = json.load(error)["services"]
    return {service["service"]: service for service in services}


def test_a_relay_of_serve_that_takes_over_says_where_it_goes_on(launch, bank):
    only = ("serve", "--no-services", "--no-projections", "--no-reactions")
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    first = launch(*only, cwd=bank)
    read_until(first, "stop with Ctrl-C")
    head = eskit("relay", "--status", "--json", cwd=bank).json["data"]["head"]
    second = launch(*only, cwd=bank)
    read_until(second, "relays this store")

    interrupt(first)
    lines = read_until(second, "resumed at position")
    ended = interrupt(second)

    assert head > 0
    assert f"resumed at position {head}" in lines[-1]
    assert ended.code == 0, ended.err


@pytest.mark.promise("unpublishable-events-wait")
def test_an_event_that_no_message_can_carry_ends_neither_serve_nor_its_other_parts(launch, bank):
    position = append_large(bank, 9 * 2**20)
    serve = launch("serve", "--no-reactions", "--health", "0", cwd=bank)
    lines = read_until(serve, "blocked")
    lines += read_until(serve, "stop with Ctrl-C") if "Ctrl-C" not in "".join(lines) else []
    url = re.search(r"http://\S+/health", "".join(lines))
    assert url is not None
    unwell = ask_health(url[0])
    called = deposit_over_nats(bank)
    status = eskit("relay", "--status", cwd=bank)
    unasked = eskit("relay", "--skip", str(position), "--reason", "a video", cwd=bank)
    skipped = eskit("relay", "--skip", str(position), "--reason", "a video", "--yes", cwd=bank)
    read_until(serve, "resumed")
    well = ask_health(url[0])
    after = eskit("relay", "--status", "--json", cwd=bank).json["data"]
    ended = interrupt(serve)

    assert not unwell["relay"]["healthy"]
    assert f"The event at position {position} of the log" in unwell["relay"]["error"]
    assert unwell["services"]["healthy"]
    assert called.code == 0, called.err
    assert status.code == 1
    assert f"eskit relay --skip {position} --reason TEXT" in status.out.replace("\n", " ")
    assert unasked.code == 2
    assert skipped.code == 0, skipped.err
    assert well["relay"]["healthy"]
    assert (after["state"], after["position"], after["error"]) == ("running", position + 1, "")
    (skip,) = after["skipped"]
    assert (skip["position"], skip["reason"]) == (position, "a video")
    assert "max_payload" in skip["error"]
    assert ended.code == 0, ended.err


def deposit_over_nats(bank):
    data = json.dumps({"account_id": "acc-001", "amount": "1"})
    return eskit("call", DEPOSIT, "--via", "nats", "--data", data, cwd=bank)


def test_what_is_in_the_way_at_the_end_is_in_the_exit_code(launch, bank):
    append_large(bank, 9 * 2**20)
    serve = launch("serve", "--no-reactions", cwd=bank)
    read_until(serve, "blocked")
    served = interrupt(serve)
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    once = eskit("relay", "--once", cwd=bank)
    following = launch("relay", cwd=bank)
    read_until(following, "cannot be published", stream="stderr")
    followed = interrupt(following)

    for ran in (served, once, followed):
        assert ran.code == 1
        assert "cannot be published" in ran.err


@pytest.mark.promise("unpublishable-events-wait")
def test_only_what_cannot_be_published_is_skipped(launch, bank):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")

    possible = eskit("relay", "--skip", "2", "--reason", "why not", "--yes", cwd=bank)
    missing = eskit("relay", "--skip", "99", "--reason", "why not", "--yes", cwd=bank)
    unexplained = eskit("relay", "--skip", "2", "--yes", cwd=bank)

    assert (possible.code, missing.code, unexplained.code) == (2, 1, 2)
    assert "position 2 can be published" in possible.err
    assert "no event at position 99" in missing.err
    assert "--reason" in unexplained.err


@pytest.mark.promise("unpublishable-events-wait")
def test_a_foreign_message_ends_neither_serve_nor_its_next_start(launch, bank):
    nats = launch("nats", "start", cwd=bank)
    read_until(nats, "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0
    url = json.loads((bank / ".eskit" / "nats.json").read_text())["url"]
    stream = publish_foreign(url)

    serve = launch("serve", "--no-reactions", cwd=bank)
    lines = read_until(serve, "blocked")
    if "Ctrl-C" not in "".join(lines):
        read_until(serve, "stop with Ctrl-C")
    called = deposit_over_nats(bank)
    told = eskit("relay", "--status", cwd=bank)
    ended = interrupt(serve)
    republished = eskit("relay", "--republish", "--yes", cwd=bank)

    assert called.code == 0, called.err
    assert f"Message 5 of stream {stream} was not published by a relay" in told.out
    assert told.code == ended.code == 1
    assert republished.code == 0, republished.err
    assert eskit("relay", "--status", cwd=bank).code == 0


def publish_foreign(url):
    """Write to the relay's stream as something other than a relay; the name of the stream."""

    async def run():
        async with connected(url) as connection:
            (name,) = (
                name
                for name in (await api(connection, "STREAM.NAMES"))["streams"]
                if not name.startswith("KV_")
            )
            state = await find_stream(connection, name)
            subject = state.config["subjects"][0].replace(">", "Account.forged")
            await publish(connection, subject, b"?", {})
            return name

    return asyncio.run(run())


def test_a_standby_says_for_whom_it_stands_by(launch, bank):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    first = launch("relay", cwd=bank)
    read_until(first, "up to date", stream="stderr")

    second = launch("relay", cwd=bank)
    (told,) = read_until(second, "standing by", stream="stderr")

    assert f"(process {first.pid})" in told
    assert "position" not in told


def test_a_relay_waits_for_nats_from_its_start_on(launch, bank):
    relay = launch("relay", "--health", "0", cwd=bank)
    waiting = read_until(relay, "waiting for NATS", stream="stderr")
    url = re.search(r"http://\S+/health", "".join(waiting))
    assert url is not None
    unwell = ask_health(url[0])
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    back = read_until(relay, "up to date", stream="stderr")
    well = ask_health(url[0])
    ended = interrupt(relay)

    assert not unwell["relay"]["healthy"]
    assert "No NATS server of this project is running" in unwell["relay"]["error"]
    assert back == ["up to date  position 4\n"]
    assert all(service["healthy"] for service in well.values())
    assert ended.code == 0, ended.err
