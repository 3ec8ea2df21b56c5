"""``eskit demo`` is what a new user sees first."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.support.running import eskit, interrupt, read_until


def test_the_demo_shows_every_command_with_its_output_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    began = time.monotonic()
    ran = eskit("demo", cwd=tmp_path)
    seconds = time.monotonic() - began

    assert ran.code == 0, ran.err
    assert ran.err == ""
    for command in ("new project", "gen", "call", "replay", "project rebuild", "serve", "tail"):
        assert f"$ eskit {command}" in ran.out
    assert 'balance     "1200.25"' in ran.out
    assert "MoneyWithdrawn" in ran.out
    assert seconds < 60
    assert left_behind(tmp_path) == []
    assert still_running(str(tmp_path)) == []


def test_the_demo_keeps_a_project_that_works(tmp_path):
    ran = eskit("demo", "--keep", "my-bank", "--json", cwd=tmp_path)
    streams = eskit("stream", "list", "--json", cwd=tmp_path / "my-bank")
    again = eskit("demo", "--keep", "my-bank", cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert [step["command"] for step in ran.json["data"]][1] == "eskit gen"
    assert [s["version"] for s in streams.json["data"]] == [3, 1]
    assert again.code == 1
    assert "my-bank exists already" in again.err


def test_ctrl_c_ends_the_demo_and_everything_it_started(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = launch("demo", cwd=tmp_path, start_new_session=True)
    read_until(process, "$ eskit serve")
    read_until(process, "nats")

    ended = interrupt(process)

    assert ended.code == 130
    deadline = time.monotonic() + 60
    while still_running(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert still_running(str(tmp_path)) == []
    assert left_behind(tmp_path) == []


def test_a_killed_demo_takes_along_what_it_started(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = launch("demo", cwd=tmp_path, start_new_session=True)
    read_until(process, "up; stop with Ctrl-C", within=120)
    assert any("serve" in command for command in still_running(str(tmp_path)))

    process.kill()
    process.communicate()

    deadline = time.monotonic() + 60
    while still_running(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert still_running(str(tmp_path)) == []


def left_behind(folder):
    """What is in the temporary folder, but for the cache that jinja2 keeps there for everybody."""
    return [path for path in folder.iterdir() if not path.name.startswith("_jinja2-cache")]


def still_running(text):
    """Command lines of processes that mention `text` or run in a folder below it."""
    listed = subprocess.run(["ps", "-eo", "pid="], capture_output=True, text=True, check=True)
    found = []
    for pid in set(listed.stdout.split()) - {str(os.getpid())}:
        try:
            folder = Path(f"/proc/{pid}/cwd").readlink()
            command = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if str(folder).startswith(text) or text in command:
            found.append(command)
    return found
