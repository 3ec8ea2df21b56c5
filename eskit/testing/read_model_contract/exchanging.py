"""Rows built aside, and exchanged for the live ones at once."""

from __future__ import annotations

import pytest

from eskit.errors import MigrationInvalid
from eskit.projections.differences import TableDifference
from eskit.projections.projection import Projection
from eskit.projections.readmodel import START, AsideReadModel, LiveReadModel, Mark, ReadModels
from eskit.testing.read_model_contract.samples import (
    STORE,
    Projections,
    decision,
    failure,
    handle,
    letter,
    mark,
    prepared,
    put,
    rows,
    skip,
)


def build(live: LiveReadModel, projection: Projection, *positions: int, code: str = "x") -> Mark:
    """Open what is built aside, handle events in it, and let go of it."""
    aside = live.open_aside(projection, "rebuild", fingerprint=code, store_id=STORE)
    try:
        at = aside.prepare(projection, store_id=STORE).mark
        for position in positions:
            at = handle(aside, projection, position, seen=at)
    finally:
        aside.close()
    return at


def _break_off_in_place(live: LiveReadModel, projection: Projection) -> None:
    with live.emptied(projection):
        prepared(live, projection, 3)
        raise ZeroDivisionError


class ExchangeContract:
    """Building aside, going on with it, exchanging, comparing; and what is undone as a whole."""

    def test_what_is_built_aside_has_the_same_names_and_leaves_the_live_rows(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1, 2)

        build(live, projection, 1)

        assert rows(live.db) == [("row 1", 1), ("row 2", 2)]
        aside = models.find_aside("counts")
        assert aside is not None
        assert aside.mark == mark(1)

    def test_the_rows_of_other_projections_are_read_but_not_written_from_aside(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection)
        prepared(live, projections.make("other"), 1)
        aside = live.open_aside(projection, "rebuild", fingerprint="x", store_id=STORE)

        try:
            aside.prepare(projection, store_id=STORE)
            assert rows(aside.db, "other") == [("row 1", 1)]
            with (
                pytest.raises(Exception),  # noqa: B017, PT011 - the database's own
                aside.transaction(),
            ):
                put(aside, "row 2", 2, table="other")
        finally:
            aside.close()

        assert rows(live.db, "other") == [("row 1", 1)]

    def test_an_unfinished_build_goes_on_with_the_same_code_only(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection)
        build(live, projection, 1)

        went_on = build(live, projection, code="x")
        began_anew = build(live, projection, code="y")

        assert (went_on, began_anew) == (mark(1), START)

    def test_an_exchange_brings_rows_and_checkpoint_and_ends_failures(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1)
        prepared(live, projections.make("other"), 1)
        with live.transaction():
            live.save_failure(failure(2))
            live.save_letter(letter(2))
            live.save_skip(skip(2))
            live.pause("counts", reason="rates are wrong")
            live.save_decision(decision("pause"))
        build(live, projection, 1, 3)

        with live.exchanging(projection) as standing:
            inside = standing.mark
            live.advance("counts", seen=standing.mark, passed=mark(4))
            with models.reader() as db:
                meanwhile = rows(db)
        live.discard_aside("counts", "rebuild")

        assert (inside, meanwhile) == (mark(3), [("row 1", 1)])
        assert rows(live.db) == [("row 1", 1), ("row 3", 3)]
        assert rows(live.db, "other") == [("row 1", 1)]
        exchanged = live.find_standing("counts")
        assert exchanged is not None
        assert (exchanged.mark, exchanged.pause) == (mark(4), "rates are wrong")
        assert live.find_failures("counts") == []
        assert live.find_letters("counts") == []
        assert live.find_skips("counts") == [skip(2)]
        assert models.list_decisions("counts") == [decision("pause")]
        assert models.find_aside("counts") is None

    def test_an_exchange_that_breaks_off_changes_nothing(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1)
        before = models.find_standing("counts")
        build(live, projection, 1, 3)

        with pytest.raises(ZeroDivisionError), live.exchanging(projection):
            raise ZeroDivisionError

        assert rows(live.db) == [("row 1", 1)]
        assert models.find_standing("counts") == before
        with live.exchanging(projection):
            pass
        assert rows(live.db) == [("row 1", 1), ("row 3", 3)]

    def test_an_exchange_brings_another_schema_and_version(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1)
        changed = projections.make(
            version=2, then="-- eskit: rebuild\nALTER TABLE counts ADD COLUMN note TEXT;"
        )
        aside = live.open_aside(changed, "rebuild", fingerprint="x", store_id=STORE)
        try:
            standing = aside.prepare(changed, store_id=STORE)
            with aside.transaction():
                aside.db.execute("INSERT INTO counts VALUES ('row 1', 1, 'new')")
                aside.advance("counts", seen=standing.mark, passed=mark(1))
        finally:
            aside.close()

        with live.exchanging(changed):
            pass

        exchanged = live.prepare(changed, store_id=STORE)
        assert (exchanged.version, exchanged.mark) == (2, mark(1))
        assert live.db.execute("SELECT note FROM counts").fetchone()[0] == "new"

    def test_tables_of_another_projection_are_not_exchanged(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make("other"), 1)
        thief = projections.make(then="CREATE TABLE other (name TEXT, amount INTEGER);")
        build(live, thief)

        with pytest.raises(MigrationInvalid), live.exchanging(thief):
            pass

        assert rows(live.db, "other") == [("row 1", 1)]

    def test_live_rows_are_compared_with_those_aside(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1, 2)
        aside = live.open_aside(projection, "diff", fingerprint="x", store_id=STORE)
        try:
            at = aside.prepare(projection, store_id=STORE).mark
            equal = [found.differing for found in self._compare(aside)]
            for position in (1, 3):
                at = handle(aside, projection, position, seen=at)
            (different,) = self._compare(aside)
            standing = aside.find_live_standing("counts")
        finally:
            aside.close()
            live.discard_aside("counts", "diff")

        assert equal == [2]
        assert (different.table, different.live_rows, different.rebuilt_rows) == ("counts", 2, 2)
        assert different.differing == 2
        assert [(found.live, found.rebuilt) for found in different.examples] == [
            (None, {"name": "row 3", "amount": 3}),
            ({"name": "row 2", "amount": 2}, None),
        ]
        assert standing is not None
        assert standing.mark == mark(2)

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
        standing = live.find_standing("counts")
        assert standing is not None
        assert standing.mark == mark(1)

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
        before = models.find_standing("counts")

        with pytest.raises(ZeroDivisionError):
            _break_off_in_place(live, projection)

        assert rows(live.db) == [("row 1", 1), ("row 2", 2)]
        assert models.find_standing("counts") == before

    def _compare(self, aside: AsideReadModel) -> list[TableDifference]:
        with aside.transaction():
            return aside.compare("counts", examples=5)
