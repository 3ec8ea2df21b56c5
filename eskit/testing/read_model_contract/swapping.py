"""Shadow rows, and swapping them for the live ones at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eskit.errors import MigrationInvalid
from eskit.projections.bookkeeping import (
    advance,
    begin_again,
    find_dead_letters,
    find_failures,
    find_rebuild_position,
    find_skips,
    find_state,
    list_decisions,
    load_state,
    save_dead_letter,
    save_decision,
    save_failure,
    save_skip,
    save_state,
)
from eskit.projections.differences import TableDifference
from eskit.projections.port import LiveReadModel, ReadModels, ShadowReadModel
from eskit.projections.preparing import prepare
from eskit.projections.projection import Projection
from eskit.projections.rebuild import open_shadow
from eskit.projections.records import START
from eskit.testing.read_model_contract.samples import (
    NOON,
    STORE,
    Built,
    Samples,
    adopt_built,
    decision,
    event_at,
    failure,
    letter,
    skip,
)


def _break_off_in_place(
    live: LiveReadModel[Any], samples: Samples, projection: Projection[Any]
) -> None:
    with live.transaction():
        begin_again(live, projection.name)
        samples.prepared(live, projection, 3)
        raise ZeroDivisionError


def _break_off_the_swap(live: LiveReadModel[Any], built: Built) -> None:
    with live.swapping("counts"):
        adopt_built(live, built)
        raise ZeroDivisionError


class SwapContract:
    """Building shadow, going on with it, swapping, comparing; and what is undone as a whole."""

    def test_what_is_built_aside_has_the_same_names_and_leaves_the_live_rows(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1, 2)

        samples.build(live, projection, 1)

        assert samples.rows(live.db) == [("row 1", 1), ("row 2", 2)]
        assert find_rebuild_position(models, "counts") == 1

    def test_the_rows_of_other_projections_are_read_but_not_written_from_aside(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection)
        samples.prepared(live, samples.make("other"), 1)
        shadow = open_shadow(live, "counts", "rebuild", skips=[])

        try:
            prepare(shadow, projection, store_id=STORE, now=NOON)
            assert samples.rows(shadow.db, "other") == [("row 1", 1)]
            with (
                pytest.raises(Exception),  # noqa: B017, PT011 - the database's own
                shadow.transaction(),
            ):
                samples.put(shadow, 2, table="other")
        finally:
            shadow.close()

        assert samples.rows(live.db, "other") == [("row 1", 1)]

    def test_an_unfinished_build_goes_on_with_the_same_code_only(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection)
        samples.build(live, projection, 1)

        went_on = samples.build(live, projection, code="x")
        began_anew = samples.build(live, projection, code="y")

        assert [state.checkpoint for state, _ in (went_on, began_anew)] == [event_at(1), START]

    def test_a_swap_brings_rows_and_checkpoint_and_ends_failures(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1)
        samples.prepared(live, samples.make("other"), 1)
        with live.transaction():
            save_failure(live, failure(2))
            save_dead_letter(live, letter(2))
            save_skip(live, skip(2))
            save_state(live, replace(load_state(live, "counts"), pause="rates are wrong"))
            save_decision(live, decision("pause"))
        built = samples.build(live, projection, 1, 3)

        with live.swapping("counts"):
            adopt_built(live, built)
            inside = load_state(live, "counts").checkpoint
            advance(live, "counts", before=inside, after=event_at(4), now=NOON)
            with models.reader() as db:
                meanwhile = samples.rows(db)
        live.discard_shadow("counts", "rebuild")

        assert (inside, meanwhile) == (event_at(3), [("row 1", 1)])
        assert samples.rows(live.db) == [("row 1", 1), ("row 3", 3)]
        assert samples.rows(live.db, "other") == [("row 1", 1)]
        swapped = load_state(live, "counts")
        assert (swapped.checkpoint, swapped.pause) == (event_at(4), "rates are wrong")
        assert find_failures(live, "counts") == []
        assert find_dead_letters(live, "counts") == []
        assert find_skips(live, "counts") == [skip(2)]
        assert list_decisions(models, "counts") == [decision("pause")]
        assert find_rebuild_position(models, "counts") is None

    def test_a_swap_that_is_interrupted_changes_nothing(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1)
        before = find_state(models, "counts")
        built = samples.build(live, projection, 1, 3)

        with pytest.raises(ZeroDivisionError):
            _break_off_the_swap(live, built)

        assert samples.rows(live.db) == [("row 1", 1)]
        assert find_state(models, "counts") == before
        with live.swapping("counts"):
            adopt_built(live, built)
        assert samples.rows(live.db) == [("row 1", 1), ("row 3", 3)]

    def test_a_swap_brings_another_schema_and_version(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1)
        column = samples.tables.add_column("counts", "note")
        changed = samples.make(version=2, then=f"-- eskit: rebuild\n{column}")
        built = samples.build(live, changed, 1)

        with live.swapping("counts"):
            adopt_built(live, built)

        swapped = prepare(live, changed, store_id=STORE, now=NOON)
        assert (swapped.version, swapped.checkpoint) == (2, event_at(1))
        assert samples.tables.columns(live.db, "counts") == ["name", "amount", "note"]

    def test_tables_of_another_projection_are_not_swapped(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make("other"), 1)
        thief = samples.make(then=samples.tables.create("other"))
        samples.build(live, thief)

        with pytest.raises(MigrationInvalid), live.swapping("counts"):
            pass

        assert samples.rows(live.db, "other") == [("row 1", 1)]

    def test_live_rows_are_compared_with_shadow_rows(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1, 2)
        shadow = open_shadow(live, "counts", "diff", skips=[])
        try:
            at = prepare(shadow, projection, store_id=STORE, now=NOON).checkpoint
            none_yet = [found.differing for found in self._compare(shadow)]
            for position in (1, 3):
                at = samples.handle(shadow, projection, position, before=at)
            (different,) = self._compare(shadow)
            state = load_state(shadow.live, "counts")
        finally:
            shadow.close()
            live.discard_shadow("counts", "diff")

        assert none_yet == [2]
        assert (different.table, different.live_rows, different.rebuilt_rows) == ("counts", 2, 2)
        assert different.differing == 2
        assert [(found.live, found.rebuilt) for found in different.examples] == [
            (None, {"name": "row 3", "amount": 3}),
            ({"name": "row 2", "amount": 2}, None),
        ]
        assert state.checkpoint == event_at(2)

    def test_rows_made_again_in_place_replace_the_others_at_the_end(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1, 2)

        with live.transaction():
            begin_again(live, "counts")
            samples.prepared(live, projection, 3)
            with models.reader() as db:
                meanwhile = samples.rows(db)

        assert meanwhile == [("row 1", 1), ("row 2", 2)]
        assert samples.rows(live.db) == [("row 3", 3)]

    def test_rows_made_again_in_place_are_undone_when_that_is_interrupted(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1, 2)
        before = find_state(models, "counts")

        with pytest.raises(ZeroDivisionError):
            _break_off_in_place(live, samples, projection)

        assert samples.rows(live.db) == [("row 1", 1), ("row 2", 2)]
        assert find_state(models, "counts") == before

    def _compare(self, shadow: ShadowReadModel[Any]) -> list[TableDifference]:
        with shadow.transaction():
            return shadow.compare("counts", examples=5, in_order=True)
