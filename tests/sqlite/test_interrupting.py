"""Ctrl-C inside one statement that SQLite is at work on, and will be for hours."""

import gc
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eskit.sqlite.interrupting import InterruptibleConnection

PROGRAM = """
import sys
import threading
from pathlib import Path
from eskit import ANY, NewEvent, Projection, open_store
from eskit.errors import EskitError
from eskit.projections.engine import ProjectionEngine
from eskit.schema.response_pb2 import AppError

FOR_HOURS = '''
    WITH RECURSIVE n(i) AS (SELECT begun() UNION ALL SELECT i + 1 FROM n WHERE i < 1e12)
    SELECT {} FROM n WHERE i < 0
'''

begins = threading.Event()

def tell():  # another thread does: this one is soon in the statement, and not in Python
    begins.wait()
    print("begun", flush=True)

threading.Thread(target=tell, daemon=True).start()

def begun():
    begins.set()
    return 1

search = Projection("counts", migrations=Path("migrations").absolute())
patient = True

@search.on(AppError)
def failed(event, context):
    if patient:
        context.db.execute("INSERT INTO counts VALUES (?)", (event.code,))
        return
    context.db.conn.create_function("begun", 0, begun)
    try:
        if sys.argv[2] == "fetch":
            list(context.db.execute(FOR_HOURS.format("i")))
        else:
            context.db.execute("INSERT INTO counts " + FOR_HOURS.format("count(*)"))
    except Exception as error:
        print("a handler was told:", error, flush=True)

with open_store("sqlite:///log.db") as store:
    store.append("Thing-1", [NewEvent(AppError(code="A"))], expected_version=ANY)
    engine = ProjectionEngine(store, [search], "sqlite:///read.db")
    if sys.argv[1] != "run":
        engine.run()
    patient = False
    try:
        if sys.argv[1] == "view":
            with store.view() as view:
                view._connection.create_function("begun", 0, begun)
                view._connection.execute(FOR_HOURS.format("count(*)")).fetchall()
        else:
            getattr(engine, sys.argv[1])(*(["counts"] if sys.argv[1] != "run" else []))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    except EskitError as error:
        print("failed", error, flush=True)
    patient = True
    engine.run()
    with engine.reader() as db:
        print(db.execute("SELECT * FROM counts").fetchall(), flush=True)
    engine.close()
"""


@pytest.mark.parametrize("statement", ["write", "fetch"])
@pytest.mark.parametrize("work", ["run", "rebuild", "diff", "view"])
def test_ctrl_c_ends_one_long_statement_and_nothing_of_it_is_kept(work, statement):
    Path("migrations").mkdir()
    Path("migrations/1_counts.sql").write_text("CREATE TABLE counts (code);")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, work, statement], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "begun\n"

        process.send_signal(signal.SIGINT)

        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert out.splitlines() == ["interrupted", "[('A',)]"]


def test_statements_leave_nothing_behind():
    connection = sqlite3.connect(":memory:", factory=InterruptibleConnection)
    connection.execute("SELECT 1")
    gc.collect()
    before = len(gc.get_objects())

    for _ in range(10_000):
        connection.execute("SELECT 1")

    gc.collect()
    assert len(gc.get_objects()) < before + 1_000
