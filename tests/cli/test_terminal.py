"""What a terminal gets, at 80 columns."""

from __future__ import annotations

import io
import os
import pty
import re
import time

import pytest
from rich.console import Console

from eskit import NewEvent, claim, open_store
from eskit.cli.terminal.progress_bar import drawn_on, format_amount, format_speed
from eskit.schema.response_pb2 import AppError
from tests.support.running import Terminal, break_deposits, eskit


def run_in_terminal(launch, *args, cwd, env=None, size="80"):
    """Run eskit on a terminal of its own and return what it wrote there."""
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": size} | (env or {})
    process = launch(*args, cwd=cwd, env=environment, terminal=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
    process.wait(30)
    os.close(ours)
    return written.decode()


def test_a_terminal_gets_styles_and_lines_that_fit(launch, bank):
    shown = run_in_terminal(launch, "tail", "--no-follow", "--from", "first", cwd=bank)

    lines = shown.replace("\r", "").splitlines()
    assert "\x1b[" in shown
    assert len(lines) == 4
    assert all("…" in line for line in lines)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colour_gets_no_escape_at_all(launch, bank, env):
    shown = run_in_terminal(launch, "replay", "Account-acc-001", cwd=bank, env=env)

    assert "State at version 3" in shown
    assert "\x1b" not in shown


def test_an_error_is_never_cut(launch, bank):
    name = "account-balance-of-which-there-is-none-with-a-name-beyond-the-edge-of-the-terminal"

    shown = run_in_terminal(launch, "project", "run", name, cwd=bank)

    assert name in shown
    assert "…" not in shown


def test_a_rebuild_draws_on_the_terminal_only(launch, bank):
    drawn = run_in_terminal(launch, "project", "rebuild", "account-balance", cwd=bank)
    piped = eskit("project", "rebuild", "account-balance", cwd=bank)
    as_json = eskit("project", "rebuild", "account-balance", "--json", cwd=bank)

    assert "account-balance" in drawn
    assert (piped.code, piped.err) == (0, "")
    assert all('"progress"' in line for line in as_json.err.splitlines())
    assert as_json.json["status"] == "ok"


def test_a_bar_shows_how_much_is_done_and_how_fast():
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)

    with drawn_on(screen) as report:
        for done in (0, 32_000, 64_000):
            report("customer-360", done, 128_400)
            time.sleep(0.05)

    drawn = screen.file.getvalue()
    assert re.search(r"customer-360 .* 64,000/128,400 [\d,]+/s 0:00:0\d", drawn)


def test_amount_and_speed_are_told_as_far_as_they_are_known():
    assert format_amount(64_000.0, 128_400) == "64,000/128,400"
    assert format_amount(12, None) == "12"
    assert format_speed(41_000.4) == "41,000/s"
    assert format_speed(None) == ""


def test_a_long_error_and_its_hint_are_wrapped_at_words_below_the_text(launch, tmp_path):
    url = "sqlite:///a-folder-that-is-not-there/and-another/events.db"
    shown = run_in_terminal(
        *(launch, "stream", "list", "--store", url), cwd=tmp_path, env={"TERM": "dumb"}
    )
    piped = eskit("stream", "list", "--store", url, cwd=tmp_path)

    lines = shown.replace("\r", "").splitlines()
    assert lines[0] == "error  There is no store at"
    assert all(line.startswith("       ") for line in lines[1:])
    assert f"       eskit --store {url} store init" in lines
    assert len(piped.err.splitlines()) == 2


def test_a_rejection_is_wrapped_and_its_details_are_aligned(launch, bank):
    data = '{"account_id": "acc-001", "amount": "99999999999.00"}'
    method = "account.v1.AccountCommandService/Withdraw"

    shown = run_in_terminal(
        *(launch, "call", method, "--data", data), cwd=bank, env={"TERM": "dumb"}
    )

    head, *rest = shown.replace("\r", "").splitlines()
    assert len(head) <= 80
    assert head.startswith("rejected  INSUFFICIENT_FUNDS  Insufficient funds")
    assert all(line.startswith(" " * 10) and line[10] != " " for line in rest)
    assert rest[-2:] == ["          balance  1200.25", "          amount   99999999999.00"]


def test_a_long_error_of_a_projection_is_told_once(launch, bank):
    break_deposits(bank)
    module = bank / "bank" / "projections" / "account_balance.py"
    module.write_text(module.read_text().replace("eur", "no rate of eur " * 20))
    eskit("project", "run", "--once", cwd=bank)

    status = eskit("project", "status", cwd=bank)
    detailed = eskit("project", "status", "account-balance", cwd=bank)
    shown = run_in_terminal(launch, "project", "status", cwd=bank, env={"TERM": "dumb"})

    assert status.out.count("KeyError") == 1
    assert detailed.out.count("KeyError: ") == 1
    assert max(map(len, shown.replace("\r", "").splitlines())) <= 80


def test_a_new_project_shows_its_descriptions_in_full(launch, tmp_path):
    shown = run_in_terminal(
        *(launch, "new", "project", "bank", "--template", "bank", "--dry-run"),
        cwd=tmp_path,
        env={"TERM": "dumb"},
    )

    lines = shown.replace("\r", "").splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in shown
    assert "entry for each event" in shown


def test_a_long_stream_name_does_not_hide_the_type_of_the_event(launch, store_url, tmp_path):
    with open_store(store_url) as store:
        store.append(f"Thing-{'9' * 90}", [NewEvent(AppError())], expected_version=0)

    shown = run_in_terminal(
        *(launch, "tail", "--no-follow", "--store", store_url), cwd=tmp_path, env={"TERM": "dumb"}
    )

    lines = shown.replace("\r", "").splitlines()
    assert all("AppError" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_long_line_about_a_service_goes_on_below_what_it_says(launch, bank):
    terminal = Terminal(launch, "serve", "--no-relay", cwd=bank, columns=70)

    lines = terminal.read_until("stop with Ctrl-C")
    terminal.press_ctrl_c()

    at = next(index for index, line in enumerate(lines) if line.startswith("services"))
    assert lines[at].startswith("services          ready")
    assert lines[at + 1].startswith(" " * 18 + "account-v1-")
    assert max(map(len, lines)) <= 70
    assert terminal.process.wait(30) == 0


def test_the_catalog_is_wrapped_below_its_last_column(launch, bank):
    shown = run_in_terminal(launch, "catalog", cwd=bank, env={"TERM": "dumb"})

    lines = shown.replace("\r", "").splitlines()
    at = next(index for index, line in enumerate(lines) if "account-balance  handles" in line)
    assert lines[at + 1].startswith(" " * lines[at].index("handles"))
    assert max(map(len, lines)) <= 80


def test_one_long_value_or_name_hides_nothing_of_the_other_rows(launch, store_url, tmp_path):
    with open_store(store_url) as store:
        for stream, value in ((f"Thing-{'9' * 60}", "short"), ("Thing-c1", "v" * 90)):
            event = NewEvent(AppError(), claims=[claim("code", value)])
            store.append(stream, [event], expected_version=0)

    def lines_of(*command):
        shown = run_in_terminal(
            *(launch, *command, "--store", store_url), cwd=tmp_path, env={"TERM": "dumb"}
        )
        return shown.replace("\r", "").splitlines()

    streams = lines_of("stream", "list")
    claims = lines_of("claim", "list")

    assert max(map(len, streams)) <= 80
    rows = [line for line in streams if not line.endswith("9")]
    assert all(re.search(r"events? +(just now|\d)", line) for line in rows)
    assert f"Thing-{'9' * 60}" in [line.strip() for line in streams]
    assert any(line.endswith("…  Thing-c1") for line in claims)
