"""What is kept of an error is bounded, storable, and says how much was left out."""

from __future__ import annotations

import pytest

from eskit import raised
from eskit.raised import error_line, error_traceback, shortened


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("eur"), "KeyError: 'eur'"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError(), "ValueError"),
        (OSError("no file b\udcffd"), "OSError: no file b\\udcffd"),
        (Unspeakable(), "Unspeakable: its text cannot be shown"),
    ],
)
def test_an_error_in_a_line(error, line):
    assert error_line(error) == line


def test_a_text_that_is_short_enough_is_kept_whole():
    assert shortened("12345", 5) == "12345"
    assert shortened("123456", 5) == "12345… (6 characters in all)"


def test_the_line_of_an_error_is_the_last_of_its_traceback_however_long_it_is():
    error = ValueError("x" * 5_000_000)

    lines = error_traceback(error).splitlines()

    assert lines[-1] == error_line(error)
    assert len(lines[-1]) < raised.LONGEST_LINE + 50


def test_of_a_traceback_with_a_million_lines_the_beginning_and_the_end_are_kept():
    def fail() -> None:
        raise ValueError("line\n" * 1_000_000 + "the end")

    with pytest.raises(ValueError, match="line") as found:
        fail()
    text = error_traceback(found.value)

    assert text.startswith("Traceback")
    assert "in fail" in text
    assert text.endswith("the end\n")
    assert "characters left out" in text
    assert len(text) < raised.LONGEST_TRACEBACK + 100
