"""Locks: who has one, what it says of itself, and what becomes of the file."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eskit.errors import ProjectionBusy, ReadModelUnavailable
from eskit.files.lock import FileLock, LockFile
from eskit.processes.holding import Holder, find_holder
from eskit.processes.identity import is_alive
from eskit.projections.locks import ProjectionLock

LOCK = Path("some.lock")
HOLDING = """
import sys
from pathlib import Path
from eskit.files.lock import FileLock
lock = FileLock(Path("some.lock"))
assert lock.acquire()
lock.write("note", length=20)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder():
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_one_at_a_time_holds_it_and_says_what_it_is(holder):
    lock = FileLock(LOCK)

    assert not lock.acquire()
    assert lock.find_note(20) == "note"


def test_it_is_free_when_its_holder_is_killed(holder):
    holder.kill()
    holder.wait(30)

    lock = FileLock(LOCK)

    assert lock.find_note(20) is None
    assert lock.acquire()
    lock.close()


def test_who_waits_gets_it_when_it_is_let_go(holder):
    lock, got = FileLock(LOCK), []
    waiting = threading.Thread(target=lambda: got.append(lock.acquire(patience=30)))
    waiting.start()

    holder.communicate("\n")

    waiting.join(30)
    assert got == [True]
    lock.close()


def test_who_waits_is_told_to_stop(holder):
    stop = threading.Event()
    stop.set()

    assert not FileLock(LOCK).acquire(patience=30, stop=stop.is_set)


def test_a_lock_whose_file_was_removed_is_taken_on_a_new_one():
    first, second = FileLock(LOCK), FileLock(LOCK)
    assert first.acquire()
    first.release()
    LOCK.unlink()

    assert second.acquire()
    assert not first.acquire()

    second.remove()
    assert not LOCK.exists()
    assert first.acquire()
    first.close()


@pytest.fixture
def stranger():
    """Somebody who holds a file's lock without saying so."""
    files = []

    def hold(path):
        files.append(os.open(path, os.O_RDONLY))
        fcntl.flock(files[-1], fcntl.LOCK_EX)

    yield hold
    for file in files:
        os.close(file)


def lock_of_counts():
    file = LockFile(Path("locks/counts.run"), unavailable=ReadModelUnavailable)
    return ProjectionLock(file, "counts", "run")


def test_whoever_held_a_lock_before_is_not_named_for_somebody_else(stranger):
    lock = lock_of_counts()
    with lock:
        assert lock.find_holder().pid == os.getpid()
    stranger("locks/counts.run")

    with pytest.raises(ProjectionBusy, match=r"^Another process is running projection 'counts'"):
        lock.acquire()
    assert lock.find_holder().pid == 0


def test_a_process_that_was_killed_is_not_named_for_somebody_else(stranger):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait(30)
    Path("locks").mkdir()
    note = json.dumps({"pid": dead.pid, "since": 1.0})
    Path("locks/counts.run").write_text(note.ljust(1024))
    stranger("locks/counts.run")

    assert lock_of_counts().find_holder().pid == 0


@pytest.mark.parametrize("note", ["", "no json", "[]", "{}", '{"pid": "x", "since": null}'])
def test_a_note_that_nobody_can_read_is_of_a_process_that_is_not_known(stranger, note):
    Path("locks").mkdir()
    Path("locks/counts.run").write_text(note)
    stranger("locks/counts.run")

    assert lock_of_counts().find_holder().pid == 0


def test_a_holder_on_another_host_is_named_with_it_and_not_looked_for_here(monkeypatch):
    path = Path("locks/counts.run")
    lock, asked = (LockFile(path, unavailable=ReadModelUnavailable) for _ in range(2))
    assert lock.acquire()
    lock.write(Holder(pid=2**22 + 1, host="web-2", beat=1.0).note)
    holder = find_holder(asked)
    there = holder.name, holder.text, holder.silent_seconds(10_000.0)
    monkeypatch.setattr(socket, "gethostname", lambda: "web-2")
    here = find_holder(asked)
    lock.release()

    assert there == ("4194305 on web-2", "process 4194305 on web-2", 0.0)
    assert (here.name, here.text) == ("", "another process")
    assert Holder(pid=7, host="web-2").text == "process 7"


def test_a_process_is_alive_until_it_ends():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    assert is_alive(process.pid)
    process.communicate(b"\n")
    assert not is_alive(process.pid)
    assert not is_alive(0)
    assert not is_alive(2**70)
