"""Rows built aside, and exchanged for the live ones at once."""

from __future__ import annotations

import pytest

from eskit.errors import MigrationInvalid
from eskit.projections.differences import TableDifference
from eskit.projections.port import LiveReadModel, ReadModels, ShadowReadModel
from eskit.projections.projection import Projection
from eskit.projections.records import START, EventPosition
from eskit.testing.read_model_contract.samples import (
    STORE,
    Projections,
    decision,
    event_at,
    failure,
    handle,
    letter,
    prepared,
    put,
    rows,
    skip,
)


def build(
    live: LiveReadModel, projection: Projection, *positions: int, code: str = "x"
) -> EventPosition:
    """Open what is built aside, handle events in it, and let go of it."""
    shadow = live.open_shadow(projection, "rebuild", fingerprint=code, store_id=STORE)
    try:
        at = shadow.prepare(projection, store_id=STORE).checkpoint
        for position in positions:
            at = handle(shadow, projection, position, seen=at)
    finally:
        shadow.close()
    return at


def _break_off_in_place(live: LiveReadModel, projection: Projection) -> None:
    with live.emptied(projection):
        prepared(live, projection, 3)
        raise ZeroDivisionError


class SwapContract:
    """Building shadow, going on with it, swapping, comparing; and what is undone as a whole."""

    def test_what_is_built_aside_has_the_same_names_and_leaves_the_live_rows(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1, 2)

        build(live, projection, 1)

        assert rows(live.db) == [("row 1", 1), ("row 2", 2)]
        shadow = models.find_shadow("counts")
        assert shadow is not None
        assert shadow.checkpoint == event_at(1)

    def test_the_rows_of_other_projections_are_read_but_not_written_from_aside(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection)
        prepared(live, projections.make("other"), 1)
        shadow = live.open_shadow(projection, "rebuild", fingerprint="x", store_id=STORE)

        try:
            shadow.prepare(projection, store_id=STORE)
            assert rows(shadow.db, "other") == [("row 1", 1)]
            with (
                pytest.raises(Exception),  # noqa: B017, PT011 - the database's own
                shadow.transaction(),
            ):
                put(shadow, "row 2", 2, table="other")
        finally:
            shadow.close()

        assert rows(live.db, "other") == [("row 1", 1)]

    def test_an_unfinished_build_goes_on_with_the_same_code_only(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection)
        build(live, projection, 1)

        went_on = build(live, projection, code="x")
        began_anew = build(live, projection, code="y")

        assert (went_on, began_anew) == (event_at(1), START)

    def test_an_exchange_brings_rows_and_checkpoint_and_ends_failures(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1)
        prepared(live, projections.make("other"), 1)
        with live.transaction():
            live.save_failure(failure(2))
            live.save_dead_letter(letter(2))
            live.save_skip(skip(2))
            live.pause("counts", reason="rates are wrong")
            live.save_decision(decision("pause"))
        build(live, projection, 1, 3)

        with live.swapping(projection) as state:
            inside = state.checkpoint
            live.advance("counts", seen=state.checkpoint, passed=event_at(4))
            with models.reader() as db:
                meanwhile = rows(db)
        live.discard_shadow("counts", "rebuild")

        assert (inside, meanwhile) == (event_at(3), [("row 1", 1)])
        assert rows(live.db) == [("row 1", 1), ("row 3", 3)]
        assert rows(live.db, "other") == [("row 1", 1)]
        exchanged = live.find_state("counts")
        assert exchanged is not None
        assert (exchanged.checkpoint, exchanged.pause) == (event_at(4), "rates are wrong")
        assert live.find_failures("counts") == []
        assert live.find_dead_letters("counts") == []
        assert live.find_skips("counts") == [skip(2)]
        assert models.list_decisions("counts") == [decision("pause")]
        assert models.find_shadow("counts") is None

    def test_an_exchange_that_breaks_off_changes_nothing(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1)
        before = models.find_state("counts")
        build(live, projection, 1, 3)

        with pytest.raises(ZeroDivisionError), live.swapping(projection):
            raise ZeroDivisionError

        assert rows(live.db) == [("row 1", 1)]
        assert models.find_state("counts") == before
        with live.swapping(projection):
            pass
        assert rows(live.db) == [("row 1", 1), ("row 3", 3)]

    def test_an_exchange_brings_another_schema_and_version(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1)
        changed = projections.make(
            version=2, then="-- eskit: rebuild\nALTER TABLE counts ADD COLUMN note TEXT;"
        )
        shadow = live.open_shadow(changed, "rebuild", fingerprint="x", store_id=STORE)
        try:
            state = shadow.prepare(changed, store_id=STORE)
            with shadow.transaction():
                shadow.db.execute("INSERT INTO counts VALUES ('row 1', 1, 'new')")
                shadow.advance("counts", seen=state.checkpoint, passed=event_at(1))
        finally:
            shadow.close()

        with live.swapping(changed):
            pass

        exchanged = live.prepare(changed, store_id=STORE)
        assert (exchanged.version, exchanged.checkpoint) == (2, event_at(1))
        assert live.db.execute("SELECT note FROM counts").fetchone()[0] == "new"

    def test_tables_of_another_projection_are_not_exchanged(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make("other"), 1)
        thief = projections.make(then="CREATE TABLE other (name TEXT, amount INTEGER);")
        build(live, thief)

        with pytest.raises(MigrationInvalid), live.swapping(thief):
            pass

        assert rows(live.db, "other") == [("row 1", 1)]

    def test_live_rows_are_compared_with_those_aside(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1, 2)
        shadow = live.open_shadow(projection, "diff", fingerprint="x", store_id=STORE)
        try:
            at = shadow.prepare(projection, store_id=STORE).checkpoint
            equal = [found.differing for found in self._compare(shadow)]
            for position in (1, 3):
                at = handle(shadow, projection, position, seen=at)
            (different,) = self._compare(shadow)
            state = shadow.find_live_state("counts")
        finally:
            shadow.close()
            live.discard_shadow("counts", "diff")

        assert equal == [2]
        assert (different.table, different.live_rows, different.rebuilt_rows) == ("counts", 2, 2)
        assert different.differing == 2
        assert [(found.live, found.rebuilt) for found in different.examples] == [
            (None, {"name": "row 3", "amount": 3}),
            ({"name": "row 2", "amount": 2}, None),
        ]
        assert state is not None
        assert state.checkpoint == event_at(2)

    def test_a_rehearsal_is_undone_as_a_whole(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        at = prepared(live, projection, 1)

        with live.rehearsing():
            handle(live, projection, 2, seen=at)
            inside = rows(live.db)
            with models.reader() as db:
                outside = rows(db)

        assert inside == [("row 1", 1), ("row 2", 2)]
        assert outside == rows(live.db) == [("row 1", 1)]
        state = live.find_state("counts")
        assert state is not None
        assert state.checkpoint == event_at(1)

    def test_rows_made_again_in_place_replace_the_others_at_the_end(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1, 2)

        with live.emptied(projection):
            prepared(live, projection, 3)
            with models.reader() as db:
                meanwhile = rows(db)

        assert meanwhile == [("row 1", 1), ("row 2", 2)]
        assert rows(live.db) == [("row 3", 3)]

    def test_rows_made_again_in_place_are_undone_when_that_breaks_off(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1, 2)
        before = models.find_state("counts")

        with pytest.raises(ZeroDivisionError):
            _break_off_in_place(live, projection)

        assert rows(live.db) == [("row 1", 1), ("row 2", 2)]
        assert models.find_state("counts") == before

    def _compare(self, shadow: ShadowReadModel) -> list[TableDifference]:
        with shadow.transaction():
            return shadow.compare("counts", examples=5)
