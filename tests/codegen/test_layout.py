"""How generated code is laid out: whatever a comment holds, its docstring says the same."""

from __future__ import annotations

import ast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eskit.codegen.reading.layout import LINE_LENGTH, docstring, settled

HARD = st.text(st.sampled_from('"\\ \n') | st.characters(codec="utf-8", exclude_characters="\0\r"))


@pytest.mark.parametrize("indent", [0, 4, 8])
@given(text=HARD.filter(str.strip))
@example(text='ends with """three"""')
@example(text='"')
@example(text='\\"')
@example(text='""""')
@example(text="\\")
@example(text="word " * 40)
def test_a_docstring_says_what_the_comment_says(indent, text):
    written = docstring(text.strip("\n"), indent)

    assert ast.literal_eval(written).split() == text.split()


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=60))
def test_no_line_of_a_docstring_is_too_long(words):
    lines = docstring(" ".join(words), 8).splitlines()

    assert len(lines[0]) + 8 <= LINE_LENGTH
    assert all(len(line) <= LINE_LENGTH for line in lines[1:])


@pytest.mark.parametrize("length", [71, 79, 82, 84, 88, 120])
def test_a_word_longer_than_the_line_ends_on_its_line_as_formatters_want_it(length):
    assert docstring("x" * length, 4) == f'"""{"x" * length}"""'


def test_a_text_with_a_line_that_no_break_makes_short_is_kept_from_formatters():
    assert settled("short = 1\n") == "short = 1\n"
    assert settled(f"{'x' * 89} = 1\n").startswith("# fmt: off\n")
