"""Times on screen, and as they are typed."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from eskit import NewEvent
from eskit.cli.terminal.times import Times, TimeStyle, format_clock, parse_moment
from eskit.clock import SystemClock
from eskit.schema.response_pb2 import AppError
from tests.support.stores import sqlite_store


@pytest.fixture
def in_new_york(monkeypatch):
    """A machine whose clock is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def old_store(tmp_path) -> str:
    """A store with two events of 400 days ago, a second apart, and one of today."""
    path = tmp_path / "old.db"
    moment = datetime.now(UTC) - timedelta(days=400)
    times = [moment, moment + timedelta(seconds=1), datetime.now(UTC)]
    microseconds = iter([int(one.timestamp() * 1_000_000) for one in times])

    class Past(SystemClock):
        latest = 0

        def microseconds(self) -> int:
            self.latest = next(microseconds, self.latest)
            return self.latest

    with sqlite_store(path, f"sqlite:///{path}", clock=Past()) as store:
        for version in range(3):
            store.append("Thing-a1", [NewEvent(AppError())], expected_version=version)
    return f"sqlite:///{path}"


def test_events_of_another_day_are_shown_with_their_date(cli, old_store):
    shown = cli("tail", "--no-follow", "--store", old_store).out.splitlines()
    day = (datetime.now(UTC) - timedelta(days=400)).astimezone()

    assert shown[0].startswith(f"{day:%Y-%m-%d} ")
    assert re.match(r" +\+1\.000  ", shown[1])
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", shown[2])
    assert shown[0].index("Thing-a1") == shown[1].index("Thing-a1")


@pytest.mark.parametrize("command", [("stream", "read"), ("replay", "--no-state")])
@pytest.mark.parametrize(
    ("clock", "first", "second"),
    [
        ("delta", "400 days ago", r"\+1 s"),
        ("ago", "400 days ago", "39"),
        ("time", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
        ("full", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", r"\d{4}-.*Z"),
    ],
)
def test_the_events_of_a_stream_show_the_time_by_the_clock_that_is_wanted(
    cli, old_store, command, clock, first, second
):
    shown = cli(*command, "Thing-a1", "--clock", clock, "--store", old_store)

    headings = [line for line in shown.out.splitlines() if "AppError" in line]
    assert re.search(f"  {first}$", headings[0])
    assert re.search(f"  {second}", headings[1])


def test_the_full_time_of_an_event_is_one_to_stop_at(cli, old_store, tmp_path):
    shown = cli("stream", "read", "Thing-a1", "--clock", "full", "--store", old_store).out
    second = shown.splitlines()[4].split()[-1]

    stopped = cli(
        *("replay", "Thing-a1", "--no-state", "--at", second, "--store", old_store, "--json")
    )

    assert [event["version"] for event in stopped.records] == [1, 2]


def test_newest_first_every_event_shows_its_age_and_none_a_distance(cli, old_store):
    shown = cli("stream", "read", "Thing-a1", "--backward", "--store", old_store).out

    assert "+" not in shown
    assert shown.count(" days ago") == 2


def test_events_at_the_same_moment_show_one_kind_of_time_newest_first():
    moment = datetime.now(UTC) - timedelta(minutes=10)
    times = Times(backward=True)

    assert {times.of(moment), times.of(moment)} == {"10 min ago"}


@pytest.mark.usefixtures("in_new_york")
def test_a_time_without_an_offset_is_local_as_times_are_shown():
    moment = datetime(2025, 7, 1, 16, 30, tzinfo=UTC)
    shown = format_clock(moment, None, TimeStyle.TIME)

    assert shown == "2025-07-01 12:30:00"
    assert parse_moment(shown) == moment
    assert parse_moment("2025-07-01T16:30Z") == moment
    assert parse_moment("2025-07-01T18:30+02:00") == moment
