"""What is to happen once outside of the read model: after the rows, at least once."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from eskit import Projection
from eskit.errors import InvalidArgument, ProjectionFailed
from eskit.projections.opening import open_read_models
from eskit.projections.policy import FailurePolicy
from tests.projections.conftest import execute, rows
from tests.projections.test_following import following
from tests.support.account_events import Counted

SENT: list[str] = []
FAILING: list[str] = []


CHECKOUT = Path(__file__).parents[2]
DYING = """
import os, signal, sys
from eskit import open_store
from eskit.projections.engine import ProjectionEngine
from tests.projections import test_effects

test_effects.send.__code__ = (lambda to: os.kill(os.getpid(), signal.SIGKILL)).__code__
test_effects.os, test_effects.signal = os, signal
with open_store(sys.argv[1]) as store:
    projection = test_effects.declare(sys.argv[3])
    ProjectionEngine(store, [projection], sys.argv[2]).run()
"""


def send(to: str) -> None:
    if FAILING:
        raise ConnectionError(FAILING.pop())
    SENT.append(to)


@pytest.fixture(autouse=True)
def nothing_sent():
    SENT.clear()
    FAILING.clear()


@pytest.fixture
def mailing(tmp_path) -> Projection:
    folder = tmp_path / "migrations-mailing"
    folder.mkdir()
    (folder / "1_mailing.sql").write_text("CREATE TABLE mailing (key TEXT);")
    return declare(folder)


def declare(folder, on_failure: FailurePolicy | None = None) -> Projection:
    projection = Projection("mailing", migrations=folder, on_failure=on_failure)

    @projection.on(Counted)
    def counted(event, context):
        context.once("mail", functools.partial(send, event.key))
        execute(context.db, "INSERT INTO mailing VALUES (?)", event.key)
        if event.amount == 13:
            raise ValueError("no")

    return projection


def test_an_effect_happens_after_the_rows_are_committed(engine_of, append, mailing, monkeypatch):
    engine = engine_of(mailing)
    append(Counted(key="a"), Counted(key="b"))
    seen = []
    monkeypatch.setattr(
        f"{__name__}.send", lambda to: seen.append((to, len(rows(engine, "SELECT * FROM mailing"))))
    )
    send.__module__, send.__qualname__ = __name__, "send"

    engine.run()

    assert seen == [("a", 2), ("b", 2)]


def test_an_effect_happens_once_for_each_event(engine_of, append, mailing):
    engine = engine_of(mailing)
    append(Counted(key="a"), Counted(key="a"))
    engine.run()
    engine.set_checkpoint("mailing", 0, reason="again", by="ops")
    engine.run()

    assert SENT == ["a", "a"]
    assert len(rows(engine, "SELECT * FROM mailing")) == 4


@pytest.mark.promise("effects-run-at-least-once")
def test_rebuild_diff_and_dry_run_have_no_effects(engine_of, append, mailing):
    engine = engine_of(mailing)
    append(Counted(key="a"))
    engine.run()
    SENT.clear()

    engine.rebuild("mailing")
    engine.diff("mailing")
    append(Counted(key="b"))
    engine.dry_run()
    engine.estimate_rebuild("mailing")

    assert SENT == []


def test_an_event_that_fails_has_no_effect(engine_of, append, mailing):
    engine = engine_of(mailing)
    append(Counted(key="a"), Counted(key="b", amount=13))

    with pytest.raises(ProjectionFailed):
        engine.run()

    assert SENT == ["a"]


@pytest.mark.parametrize("then", ["set_aside_event", "set_aside_stream"])
def test_an_event_that_is_set_aside_has_no_effect(engine_of, append, mailing, then):
    policy = FailurePolicy(then=then, retries=0)
    engine = engine_of(declare(mailing.migrations, policy))
    append(Counted(key="b", amount=13), Counted(key="a"), Counted(key="c", amount=13))

    engine.run()

    assert {letter.position for letter in engine.dead_letters("mailing")} >= {1, 3}
    assert (["a"] if then == "set_aside_event" else []) == SENT


def test_an_effect_that_fails_is_shown_and_tried_again(engine_of, append, mailing):
    FAILING.append("mail server away")
    engine = engine_of(mailing)
    append(Counted(key="a"))
    with following(engine):
        assert engine.wait_for("mailing", 1, timeout=5)
        deadline = time.monotonic() + 5
        while not engine.status()[0].error and time.monotonic() < deadline:
            time.sleep(0.01)
        failing = engine.status()[0]
        while not SENT and time.monotonic() < deadline:
            time.sleep(0.05)

    assert failing.state == "failed"
    assert failing.error == "mail of event 1 fails: ConnectionError: mail server away"
    assert SENT == ["a"]
    assert engine.status()[0].error == ""


@pytest.mark.promise("effects-run-at-least-once")
def test_what_a_crash_left_is_done_by_the_next_runner(
    engine_of, store, read_models, append, mailing
):
    append(Counted(key="a"))
    killed = subprocess.run(
        [sys.executable, "-c", DYING, store.url, read_models, str(mailing.migrations)],
        cwd=CHECKOUT,
        timeout=30,
        check=False,
    )
    engine = engine_of(mailing)
    before = rows(engine, "SELECT * FROM mailing")

    engine.run()

    assert killed.returncode == -signal.SIGKILL
    assert before == rows(engine, "SELECT * FROM mailing") == [("a",)]
    assert SENT == ["a"]


def test_a_function_that_cannot_be_found_again_is_refused(engine_of, append, tmp_path):
    projection = Projection("lambdas")

    @projection.on(Counted)
    def counted(event, context):
        context.once("mail", lambda: None)

    append(Counted(key="a"))

    with pytest.raises(ProjectionFailed) as raised:
        engine_of(projection).run()
    assert isinstance(raised.value.__cause__, InvalidArgument)
    assert "a function of a module" in str(raised.value.__cause__)


def test_only_functions_of_the_handlers_package_are_ever_called(
    engine_of, append, mailing, read_models
):
    engine = engine_of(mailing)
    append(Counted(key="a"))
    engine.run()
    with closing(open_read_models(read_models)) as models, closing(models.open()) as model:
        (called,) = model.records("called", "mailing")
        value = json.loads(called.value) | {
            "function": "os:system",
            "arguments": '{"args": ["false"], "kwargs": {}}',
        }
        with model.transaction():
            model.save(replace(called, kind="effect", value=json.dumps(value)))

    (report,) = engine.run_each()

    assert report.error is not None
    assert "is not in a package of the projection's handlers" in engine.status()[0].error


def test_a_run_ends_with_an_error_when_a_call_has_failed_and_the_next_one_calls_again(
    engine_of, append, mailing
):
    FAILING.append("mail server away")
    engine = engine_of(mailing)
    append(Counted(key="a"))

    (report,) = engine.run_each()
    (status,) = engine.status()
    (again,) = engine.run_each()

    assert report.error.message == (
        "mail of event 1 of mailing failed: ConnectionError: mail server away"
    )
    assert report.error.hint.endswith("eskit project run --once mailing")
    assert (status.state, status.position) == ("failed", 1)
    assert status.hint == "Call it again: eskit project run --once mailing"
    assert again.error is None
    assert SENT == ["a"]
    assert engine.status()[0].error == ""


@pytest.mark.parametrize("raised", [SystemExit, GeneratorExit])
def test_a_call_that_ends_with_no_exception_has_failed_like_any_other(
    engine_of, append, mailing, monkeypatch, raised
):
    def leave(_to: str) -> None:
        raise raised("bye")

    leave.__module__, leave.__qualname__ = send.__module__, send.__qualname__
    monkeypatch.setattr(f"{__name__}.send", leave)
    engine = engine_of(mailing)
    append(Counted(key="a"))

    (report,) = engine.run_each()

    assert f"{raised.__name__}: bye" in report.error.message
    assert engine.status()[0].position == 1


def test_a_call_that_has_failed_keeps_no_query_from_its_answer(engine_of, append, mailing):
    FAILING.append("mail server away")
    engine = engine_of(mailing)
    append(Counted(key="a"))

    engine.catch_up()

    assert rows(engine, "SELECT key FROM mailing") == [("a",)]
    assert engine.status()[0].state == "failed"
