"""The whole event, for handlers that ask for it."""

from __future__ import annotations

import pytest

from eskit import Projection
from eskit.errors import StoreUnavailable
from eskit.projections.bookkeeping import find_failures
from eskit.projections.opening import open_read_models
from tests.support.account_events import Counted, NoteAdded


def test_a_handler_sees_the_event_as_it_was_recorded(engine_of, append, store):
    seen = []
    curious = Projection("curious")
    curious.on(Counted)(lambda _event, context: seen.append(context.event))
    for start in range(0, 1_200, 3):
        append(Counted(amount=start), Counted(amount=start + 1), NoteAdded())

    engine_of(curious).run()

    wanted = [event for event in store.read_all() if event.event_type.endswith("Counted")]
    assert [event.row for event in seen] == [event.row for event in wanted]
    assert [event.message for event in seen] == [event.message for event in wanted]


def test_a_log_that_goes_away_when_a_handler_looks_is_no_failure_of_the_handler(
    engine_of, append, store, read_models
):
    curious = Projection("curious")
    append(Counted())

    @curious.on(Counted)
    def look(_event, context):
        store.close()
        return context.event

    with pytest.raises(StoreUnavailable):
        engine_of(curious).run()

    models = open_read_models(read_models)
    assert find_failures(models, "curious") == []
    models.close()
