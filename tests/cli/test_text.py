from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import ago, duration, escape, escape_json, plain, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [bold]text[/bold]", "plain [bold]text[/bold]"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("one\ntwo\r\t", "one\\ntwo\\r\\t"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
        ("Zoë 山", "Zoë 山"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\u200db", "a\\u200db"),
        ("\u200d山", "\\u200d山"),
    ],
)
def test_what_is_not_printable_is_written_out(text, shown):
    assert escape(text) == shown


def test_json_text_loses_nothing_by_being_escaped():
    value = {"a": "\x1b[31m\x9b\u202e\ud83d\ude00 山 \U000e0001"}

    text = escape_json(json.dumps(value, ensure_ascii=False))

    assert text.isprintable()
    assert json.loads(text) == json.loads(json.dumps(value))


def test_columns_line_up_also_with_wide_characters():
    lines = [plain(line) for line in columns([("山", "1"), ("abc", "1,000")], right=[1])]

    assert lines == ["山       1", "abc  1,000"]
    assert {width(line) for line in lines} == {10}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.004, "0.01 s"), (0.44, "0.44 s"), (12.9, "12 s"), (90, "1 min")),
        *((7_200, "2 h"), (86_400, "1 day"), (200_000, "2 days")),
    ],
)
def test_durations_use_the_largest_unit_that_fits(seconds, text):
    assert duration(seconds) == text


def test_a_time_to_come_is_just_now():
    now = datetime(2026, 5, 1, tzinfo=UTC)

    assert ago(now - timedelta(hours=3), now) == "3 h ago"
    assert ago(now + timedelta(hours=3), now) == "just now"
