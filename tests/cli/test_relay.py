"""What `eskit relay` tells while it follows the log."""

from __future__ import annotations

from tests.cli.running import DEPOSIT, configure, eskit, free_port, interrupt, move, read_until


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
        "position": 0,
        "head": 4,
        "other_store": False,
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

    assert first.json["data"] == {"published": 4, "position": 4, "replaced": None}
    assert again.json["data"] == first.json["data"]
    assert not (bank / ".eskit" / "nats.json").exists()
