"""`projecting` proves rows, and that batches make no difference to them."""

from __future__ import annotations

import pytest

from eskit import Projection, upcast
from eskit.errors import ProjectionFailed
from eskit.testing.read_models import projecting
from tests.projections.conftest import counting
from tests.support.account_events import CentsDeposited, Counted, MoneyDeposited, NoteAdded


def test_the_expected_rows_pass(tmp_path):
    projected = projecting(
        counting(tmp_path), Counted(key="a", amount=1), NoteAdded(), Counted(key="a", amount=2)
    )

    projected.expect("SELECT key, amount FROM counts", ("a", 3))


def test_other_rows_are_shown_beside_the_expected_ones(tmp_path):
    projected = projecting(counting(tmp_path), Counted(key="a", amount=1))

    with pytest.raises(AssertionError, match=r"expected \('a', 2\)\n  found    \('a', 1\)"):
        projected.expect("SELECT key, amount FROM counts", ("a", 2))


def test_no_events_make_no_rows(tmp_path):
    projecting(counting(tmp_path)).expect("SELECT * FROM counts")


def test_read_models_that_are_named_are_emptied_each_time(tmp_path):
    kept = f"sqlite:///{tmp_path}/read.db"

    for _ in range(2):
        projected = projecting(counting(tmp_path), Counted(key="a", amount=1), read_models=kept)

        projected.expect("SELECT key, amount FROM counts", ("a", 1))


def test_events_may_name_their_stream():
    projection = Projection("streams")

    @projection.on(NoteAdded)
    def noted(event, context):
        context.db["streams"].insert({"stream": context.event.stream})

    projected = projecting(projection, ("Note-1", NoteAdded()), ("Note-2", NoteAdded()))

    projected.expect("SELECT stream FROM streams", ("Note-1",), ("Note-2",))


def test_old_events_are_upcast(tmp_path):
    projection = Projection("deposits")

    @projection.on(MoneyDeposited)
    def deposited(event, context):
        context.db["deposits"].insert({"amount": event.amount})

    @upcast(CentsDeposited, to=MoneyDeposited)
    def to_decimal(old):
        return MoneyDeposited(amount=f"{old.cents / 100:.2f}")

    projected = projecting(projection, CentsDeposited(cents=150), upcasters=[to_decimal])

    projected.expect("SELECT amount FROM deposits", ("1.50",))


def test_a_handler_that_remembers_between_events_is_found_out(tmp_path):
    projection = counting(tmp_path)
    handled = []

    @projection.on(NoteAdded)
    def noted(event, context):
        handled.append(event)
        context.db.execute("INSERT INTO counts VALUES (?, 0)", (f"note {len(handled)}",))

    with pytest.raises(AssertionError, match="rows of counts depend on how events are handled"):
        projecting(projection, NoteAdded())


def test_a_handler_that_raises_says_on_which_event(tmp_path):
    projection = Projection("broken")
    projection.on(NoteAdded)(lambda event, context: 1 / 0)

    with pytest.raises(ProjectionFailed, match="stopped before 1"):
        projecting(projection, NoteAdded())
