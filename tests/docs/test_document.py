"""The runner of documents finds what is untrue in them."""

from __future__ import annotations

import pytest

from tests.docs.document import DocumentFailed, Step, matches, read_steps, run_document


def run(tmp_path, text: str) -> int:
    document = tmp_path / "page.md"
    document.write_text(text, encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()
    return run_document(document, folder)


def test_a_document_is_read_as_commands_files_and_snippets():
    text = (
        "# Page\n"
        "```console\n$ echo one\none\n\n$ echo \\\n    two\ntwo\nexit 1\n```\n"
        "```sh\npip install eskit\n```\n"
        "```toml file=a/b.toml\nx = 1\n```\n"
        "```python\nprint(1)\n```\n"
    )

    assert read_steps(text) == [
        Step(line=3, kind="command", text="echo one", output=("one",)),
        Step(line=6, kind="command", text="echo two", output=("two",), exit_code=1),
        Step(line=14, kind="file", text="x = 1\n", path="a/b.toml"),
        Step(line=17, kind="python", text="print(1)"),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (("one", "two"), "one\ntwo\n", True),
        (("one",), "one\ntwo\n", False),
        (("one", "two"), "one\n", False),
        (("at … o'clock",), "at 12:30 o'clock\n", True),
        (("at … o'clock",), "at\n12 o'clock\n", False),
        (("one", "…", "four"), "one\ntwo\nthree\nfour\n", True),
        (("one", "…", "two"), "one\ntwo\n", True),
        (("one",), "\x1b[1mone\x1b[0m\n", True),
        (("one two",), "one    two  \n", True),
        (("one two",), "onetwo\n", False),
        (("a+b",), "aab\n", False),
        ((), "", True),
        ((), "noise\n", False),
    ],
)
def test_an_ellipsis_stands_for_anything_and_nothing_else_does(expected, printed, same):
    assert matches(expected, printed) is same


def test_steps_share_one_folder(tmp_path):
    text = (
        "```text file=notes/today.txt\nhello\n```\n"
        "```console\n$ cd notes\n$ cat today.txt\nhello\n```\n"
        "```python\nassert open('today.txt').read() == 'hello\\n'\n```\n"
    )

    assert run(tmp_path, text) == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```console\n$ echo one\ntwo\n```\n", "page.md:2: printed something else"),
        ("```console\n$ false\n```\n", "page.md:2: exit 1 instead of 0"),
        ("```console\n$ true\nexit 3\n```\n", "page.md:2: exit 0 instead of 3"),
        ("text\n```python\nraise SystemExit(4)\n```\n", "page.md:2: exit 4"),
        ("```console\n$ sleep 0 &\nready\n```\n", "page.md:2: never printed that"),
    ],
)
def test_an_untrue_document_fails_at_its_line(tmp_path, text, reason):
    with pytest.raises(DocumentFailed, match=reason):
        run(tmp_path, text)


def test_a_background_command_runs_until_the_document_ends(tmp_path):
    server = (
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "print('ready', flush=True)\n"
        "signal.sigwait([signal.SIGINT])\n"
    )
    text = (
        f"```text file=server.py\n{server}```\n"
        "```console\n$ python3 server.py &\nready\n$ echo next\nnext\n```\n"
    )

    assert run(tmp_path, text) == 3
