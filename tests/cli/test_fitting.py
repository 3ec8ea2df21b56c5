"""Lines and tables where a terminal is narrow, and where nothing is."""

from __future__ import annotations

import pytest

from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import plain
from eskit.cli.terminal.wrapping import Hanging, Narrowing, labelled


def shown(lines, limit):
    return [plain(part) for line in lines for part in line.fitted(limit)]


def test_what_does_not_fit_goes_on_below_the_first_column_of_the_text():
    lines = list(labelled(("error", "error"), "The store cannot be opened\nat all, I am afraid"))

    assert shown(lines, 20) == [
        "error  The store",
        "       cannot be",
        "       opened",
        "       at all, I am",
        "       afraid",
    ]
    assert [plain(line) for line in lines] == [
        "error  The store cannot be opened",
        "       at all, I am afraid",
    ]


def test_a_command_and_a_word_beyond_the_width_stay_in_one_piece():
    line = Hanging(
        ["Run it: ", ("eskit --store sqlite:///x.db claim rebuild", "command")], indent=2
    )
    word = Hanging(["See ", "http://127.0.0.1:4222/a/very/long/address"], indent=2)

    assert shown([line], 24) == ["Run it:", "  eskit --store sqlite:///x.db claim rebuild"]
    assert shown([word], 24) == ["See", "  http://127.0.0.1:4222/a/very/long/address"]


def test_wide_characters_count_twice_and_blanks_stay():
    assert shown([Hanging(["a  ", "b   ", "山山 c"], indent=0)], 12) == ["a  b   山山", "c"]


@pytest.mark.parametrize("limit", [30, 80])
def test_one_long_value_hides_the_holder_of_no_row(limit):
    table = columns([("email", "a" * 200, "User-1"), ("email", "bob", "User-2")], cut=1)

    first, second = shown(table, limit)

    assert first.startswith("email  aaa")
    assert first.endswith("a…  User-1")
    assert second.endswith("User-2")
    assert len(first) == len(second) == limit
    assert plain(table[0]) == f"email  {'a' * 200}  User-1"


def test_a_name_that_is_copied_is_never_cut_and_moves_only_its_own_row():
    table = columns([("A" * 40, "1 event", "now"), ("B-1", "2 events", "now")], whole=0, right=[1])

    assert shown(table, 40) == [
        "A" * 40,
        f"{'':25}   1 event  now",
        f"{'B-1':25}  2 events  now",
    ]


def test_the_last_column_is_wrapped_below_itself():
    table = columns([("one", "x y"), ("two", "a word or four")], wrapped=True)

    assert shown(table, 14) == ["one  x y", "two  a word or", "     four"]


def test_a_name_gives_way_to_what_follows_it():
    line = Narrowing(
        ["12:00  ", "Account-" + "9" * 40, "  ", "Opened", "  and more"], gives=1, until=4
    )

    (fitted,) = shown([line], 40)

    assert fitted == "12:00  Account-9999999999999999…  Opened  and more"
