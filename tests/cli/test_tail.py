"""What `eskit tail` lets through, and how it shows it."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eskit import NO_STREAM, NewEvent, open_store
from eskit.cli.commands.conditions import parse_condition
from eskit.errors import InvalidArgument
from tests.support.running import DEPOSIT, configure, eskit, free_port, interrupt, move, read_until
from tests.support.unknown_events import forget_schemas, make_message

EVERYTHING = ("tail", "--from", "first", "--no-follow", "--source", "store")


def tail(bank, *args):
    ran = eskit(*EVERYTHING, *args, cwd=bank)
    assert ran.code == 0, ran.err
    return ran


def positions(bank, *args):
    return [event["global_position"] for event in tail(bank, *args, "--json").records]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("amount>100", [2]),
        ("amount >= 50.25", [2, 3]),
        ("new_balance=1250.5", [2]),
        ("owner_name=Alice", [1]),
        ("owner_name='Alice'", [1]),
        ("owner_name!=Alice", [4]),
        ("owner_name~o", [4]),
        ("owner_name>B", [4]),
        ("nothing=1", []),
    ],
)
def test_where_compares_numbers_as_numbers_and_text_as_text(bank, condition, expected):
    assert positions(bank, "--where", condition) == expected


def test_several_conditions_must_all_hold_and_counting_back_counts_what_fits(bank):
    both = positions(bank, "--where", "amount>1", "--where", "amount<100")
    last = eskit(
        *("tail", "--from", "-1", "--no-follow", "--source", "store", "--json"),
        *("--where", "owner_name=Alice"),
        cwd=bank,
    )

    assert both == [3]
    assert [event["global_position"] for event in last.records] == [1]


def test_a_stream_that_is_not_there_is_named_with_the_nearest(bank):
    misspelt = tail(bank, "--stream", "Acount-acc-001")
    right = tail(bank, "--stream", "Account-acc-001")
    as_json = tail(bank, "--stream", "Account-acc-003", "--json")

    assert "No stream Acount-acc-001 yet. Did you mean Account-acc-001?" in misspelt.err
    assert "No stream" not in right.err
    assert as_json.out == ""


def test_a_type_or_aggregate_that_is_not_there_is_named_with_the_nearest(bank):
    short = tail(bank, "--type", "MoneyDepositd")
    full = tail(bank, "--type", "account.v1.MoneyDepositEvent")
    aggregate = tail(bank, "--aggregate", "Acount")
    right = tail(
        *(bank, "--type", "MoneyDepositedEvent", "--type", "AccountOpened"),
        *("--aggregate", "Account"),
    )

    assert "No event of type MoneyDepositd yet. Did you mean MoneyDeposited?" in short.err
    assert "Did you mean account.v1.MoneyDepositedEvent?" in full.err
    assert "No aggregate Acount yet. Did you mean Account?" in aggregate.err
    assert (right.err, len(right.out.splitlines())) == ("", 3)


def test_a_condition_without_an_operator_is_wrong_usage(bank):
    ran = eskit(*EVERYTHING, "--where", "amount", cwd=bank)

    assert ran.code == 2
    assert "is not a condition" in ran.err


def test_fields_leaves_the_rest_out(bank):
    shown = tail(bank, "--fields", "new_balance,amount", "--type", "MoneyDeposited").out
    (event,) = tail(
        bank, "--fields", "new_balance,amount", "--type", "MoneyDeposited", "--json"
    ).records

    assert 'new_balance "1250.50"  amount "250.50"\n' in shown
    assert "timestamp" not in shown
    assert event["data"] == {"new_balance": "1250.50", "amount": "250.50"}


def test_raw_shows_the_payload_as_it_is(bank):
    shown = tail(bank, "--raw").out.splitlines()
    (event,) = tail(bank, "--raw", "--type", "MoneyDeposited", "--json").records

    assert shown[1].endswith(event["data_base64"])
    assert b"250.50" in base64.b64decode(event["data_base64"])
    assert "data" not in event


def test_expanded_shows_metadata_and_a_line_for_each_field(bank):
    (stored,) = tail(bank, "--type", "MoneyDeposited", "--json").records

    shown = tail(bank, "--expanded", "--type", "MoneyDeposited").out

    assert f"\n       event id     {stored['event_id']}\n" in shown
    assert f"\n       correlation  {stored['metadata']['correlation_id']}\n" in shown
    assert '\n       new_balance  "1250.50"\n' in shown


def test_a_correlation_is_followed(bank):
    (deposited,) = tail(bank, "--type", "MoneyDeposited", "--json").records

    assert positions(bank, "--correlation", deposited["metadata"]["correlation_id"]) == [2]


def test_a_tenant_is_followed_and_named(bank):
    data = json.dumps({"account_id": "acc-001", "owner_name": "Eve", "initial_balance": "1.00"})
    opened = eskit(
        *("call", "account.v1.AccountCommandService/OpenAccount", "--tenant", "acme"),
        *("--data", data),
        cwd=bank,
    )

    assert opened.code == 0, opened.err
    assert positions(bank, "--tenant", "acme") == [5]
    assert "[acme]" in tail(bank).out


def test_until_ends_and_ages_work_for_both_ends(bank):
    events = tail(bank, "--json").records

    assert positions(bank, "--until", events[1]["recorded_at"]) == [1, 2]
    assert positions(bank, "--since", events[2]["recorded_at"]) == [3, 4]
    assert positions(bank, "--since", "1h", "--until", "1h") == []
    assert eskit(*EVERYTHING, "--until", "soon", cwd=bank).code == 2


def test_a_followed_tail_ends_by_itself_at_its_end(bank):
    ran = eskit("tail", "--from", "first", "--until", "0s", "--source", "store", cwd=bank)

    assert ran.code == 0
    assert len(ran.out.splitlines()) == 4


@pytest.mark.parametrize(
    ("clock", "pattern"),
    [("full", "T"), ("ago", "ago"), ("time", ":"), ("delta", "+")],
)
def test_times_are_shown_as_wanted(bank, clock, pattern):
    time.sleep(1.1)

    last = tail(bank, "--clock", clock).out.splitlines()[-1]

    assert pattern in last[:27]


def test_a_descriptor_set_decodes_without_the_project(bank, tmp_path):
    import grpc_tools
    from grpc_tools import protoc

    from eskit.resources import proto_dir

    store = bank / "bank.db"
    out = tmp_path / "bank.binpb"
    code = protoc.main(
        [
            "protoc",
            f"-I{bank / 'proto'}",
            f"-I{proto_dir()}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            "account/v1/account.proto",
        ]
    )
    assert code == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    decoded = eskit(
        *EVERYTHING, "--store", f"sqlite:///{store}", "--descriptors", str(out), cwd=elsewhere
    )
    garbage = eskit(
        *(*EVERYTHING, "--store", f"sqlite:///{store}", "--descriptors", str(store)),
        cwd=elsewhere,
    )

    assert 'owner_name "Alice"' in decoded.out
    assert garbage.code == 2
    assert "is not a descriptor set" in garbage.err


def test_nats_and_store_show_the_same_for_every_filter(bank, launch):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0

    for options in (
        ["--where", "amount>1", "--fields", "amount"],
        ["--from", "-1", "--where", "owner_name=Alice"],
        ["--expanded", "--type", "MoneyWithdrawn"],
        ["--raw", "--aggregate", "Account"],
    ):
        shown = [
            eskit("tail", "--from", "first", "--no-follow", *options, "--source", kind, cwd=bank)
            for kind in ("store", "nats")
        ]
        assert shown[0] == shown[1]
        assert shown[0].out


def test_an_unknown_type_is_shown_and_stops_nobody_wherever_it_comes_from(bank, launch):
    store_url = f"sqlite:///{bank / 'bank.db'}"
    unknown_type = make_message("nobody.v1.KnowsEvent", "what")
    with open_store(store_url) as store:
        store.append("Thing-1", [NewEvent(unknown_type(what="x"))], expected_version=NO_STREAM)
    forget_schemas(store_url)
    assert move(bank, DEPOSIT, "acc-001", "7.00").code == 0
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0

    for source in ("store", "nats"):
        options = ("tail", "--from", "-2", "--no-follow", "--source", source)
        shown = eskit(*options, cwd=bank)
        unknown, known = eskit(*options, "--json", cwd=bank).records

        assert "3 bytes, not decoded" in shown.out.splitlines()[0]
        assert unknown["diagnostics"][0]["code"] == "UNKNOWN_EVENT_TYPE"
        assert known["data"]["amount"] == "7.00"


def test_an_erased_event_is_called_so_wherever_it_comes_from(bank, launch):
    erase = ("stream", "erase", "Account-acc-001", "--reason", "asked for", "--yes")
    assert eskit(*erase, cwd=bank).code == 0
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0

    for source in ("store", "nats"):
        shown = eskit("tail", "--from", "first", "--no-follow", "--source", source, cwd=bank)

        _, *first = shown.out.splitlines()[0].split()
        assert first == ["1", "Account-acc-001", "AccountOpened", "erased"]


def test_a_followed_tail_ends_by_itself_at_a_time_to_come(bank, launch):
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0

    for source in ("store", "nats"):
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        ran = eskit("tail", "--from", "first", "--until", soon, "--source", source, cwd=bank)

        assert (ran.code, len(ran.out.splitlines())) == (0, 4)


def test_a_tail_over_nats_goes_on_after_a_restart_of_the_server(bank, launch):
    configure(bank, nats_server_port=free_port())
    server = launch("nats", "start", cwd=bank)
    read_until(server, "until Ctrl-C")
    assert eskit("relay", "--once", cwd=bank).code == 0
    tailing = launch("tail", "--from", "first", "--json", "--source", "nats", cwd=bank)
    before = [json.loads(tailing.stdout.readline()) for _ in range(4)]

    interrupt(server)
    read_until(launch("nats", "start", cwd=bank), "until Ctrl-C")
    assert move(bank, DEPOSIT, "acc-001", "7.00").code == 0
    assert eskit("relay", "--once", cwd=bank).code == 0
    after = json.loads(read_until(tailing, "MoneyDeposited")[-1])
    ended = interrupt(tailing)

    assert [event["global_position"] for event in [*before, after]] == [1, 2, 3, 4, 5]
    assert after["data"]["amount"] == "7.00"
    assert (ended.code, ended.out) == (0, "")
    assert [line.partition("  ")[0] for line in ended.err.splitlines()] == [
        "waiting for NATS",
        "NATS is available again: resuming",
    ]


def test_a_condition_is_parsed_with_blanks_quotes_and_paths():
    condition = parse_condition(" owner.names.0 != 'a = b' ")

    assert (condition.path, condition.comparison, condition.value) == (
        "owner.names.0",
        "!=",
        "a = b",
    )
    assert condition.holds({"owner": {"names": ["c"]}})
    assert not condition.holds({"owner": {"names": ["a = b"]}})
    assert not condition.holds({"owner": {"names": []}})
    assert parse_condition("closed=true").holds({"closed": True})
    assert not parse_condition("x<1").holds({"x": "NaN"})
    with pytest.raises(InvalidArgument):
        parse_condition("amount")


@pytest.mark.parametrize("condition", ["amount>>1", "amount==1", "amount=>1", "name~~a", "a<>1"])
def test_an_operator_that_is_none_is_not_taken_for_another_and_a_value(condition):
    with pytest.raises(InvalidArgument, match="is not a condition"):
        parse_condition(condition)

    assert parse_condition("note='>>1'").holds({"note": ">>1"})


def test_a_position_is_taken_as_it_is_shown(cli, store_url):
    ran = cli("tail", "--after", "199,998", "--no-follow", "--store", store_url)
    wrong = cli("tail", "--after", "19,99", "--no-follow", "--store", store_url)

    assert (ran.code, ran.err) == (0, "Nothing after 199,998 yet: the log ends at 2\nno events\n")
    assert wrong.code == 2


def test_deposit_is_shown_while_following(bank, launch):
    process = launch("tail", "--from", "-1", "--where", "amount>100", "--source", "store", cwd=bank)
    read_until(process, '"250.50"')
    for amount in ("5.00", "5000.00"):
        assert move(bank, DEPOSIT, "acc-001", amount).code == 0

    lines = read_until(process, "MoneyDeposited")

    assert len(lines) == 1
    assert '"5000.00"' in lines[0]
