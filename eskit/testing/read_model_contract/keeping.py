"""Rows and records kept together, and everything that is remembered of a projection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from eskit.errors import MigrationInvalid, ProjectionBusy, ReadModelUnavailable, RebuildNeeded
from eskit.projections.bookkeeping import (
    advance,
    clear_failures,
    delete_dead_letter,
    find_dead_letters,
    find_effects,
    find_failures,
    find_rebuild_position,
    find_skips,
    find_state,
    finish_effect,
    forget,
    list_decisions,
    list_states,
    load_state,
    move_checkpoint,
    record_effect,
    save_dead_letter,
    save_decision,
    save_failed_effect,
    save_failure,
    save_skip,
    save_state,
)
from eskit.projections.locks import lock_of
from eskit.projections.port import LiveReadModel, ReadModels
from eskit.projections.preparing import check, prepare
from eskit.projections.records import START, EventPosition, Record
from eskit.testing.read_model_contract.samples import (
    NOON,
    STORE,
    Samples,
    decision,
    effect,
    event_at,
    failure,
    letter,
    skip,
)


def _break_off(live: LiveReadModel[Any], samples: Samples, *, before: EventPosition) -> None:
    with live.transaction():
        samples.put(live, 2)
        advance(live, "counts", before=before, after=event_at(2), now=NOON)
        raise ZeroDivisionError


def _break_off_inside(live: LiveReadModel[Any], samples: Samples) -> None:
    with live.transaction():
        samples.put(live, 3)
        live.save(Record("skip", "counts", "b", "{}"))
        raise ZeroDivisionError


def _break_off_around(live: LiveReadModel[Any], samples: Samples, *, before: EventPosition) -> None:
    with live.transaction():
        samples.handle(live, samples.make(), 2, before=before)
        raise ZeroDivisionError


def _commit_inside(live: LiveReadModel[Any], samples: Samples) -> None:
    with live.transaction():
        samples.put(live, 2)
        samples.tables.commit(live.db)


class RowContract:
    """Tables, transactions, checkpoints and readers."""

    def test_nothing_is_known_before_the_first_run(self, models: ReadModels[Any]) -> None:
        assert list_states(models) == []
        assert find_state(models, "counts") is None
        assert find_failures(models, "counts") == []
        assert find_dead_letters(models, "counts") == []
        assert find_rebuild_position(models, "counts") is None
        with pytest.raises(ReadModelUnavailable), models.reader():
            pass

    def test_a_prepared_projection_has_its_tables_and_stands_at_the_start(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        state = prepare(live, samples.make(), store_id=STORE, now=NOON)

        assert (state.name, state.version, state.store_id) == ("counts", 1, STORE)
        assert (state.checkpoint, state.pause, state.has_exceptions) == (START, None, False)
        assert find_state(models, "counts") == state
        with models.reader() as db:
            assert samples.rows(db) == []

    def test_rows_and_checkpoint_are_kept_together(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1, 2)

        with models.reader() as db:
            assert samples.rows(db) == [("row 1", 1), ("row 2", 2)]
        state = find_state(models, "counts")
        assert state is not None
        assert state.checkpoint == event_at(2)

    def test_what_handlers_are_given_serves_every_transaction(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        db = live.db
        at = samples.prepared(live, samples.make())
        for position in (1, 2):
            with live.transaction():
                samples.tables.insert(db, "counts", f"row {position}", position)
                after = event_at(position)
                advance(live, "counts", before=at, after=after, now=NOON)
            at = after

        assert samples.rows(db) == samples.rows(live.db) == [("row 1", 1), ("row 2", 2)]

    def test_rows_and_checkpoint_are_undone_together(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        at = samples.prepared(live, samples.make(), 1)

        with pytest.raises(ZeroDivisionError):
            _break_off(live, samples, before=at)

        with models.reader() as db:
            assert samples.rows(db) == [("row 1", 1)]
        state = find_state(live, "counts")
        assert state is not None
        assert state.checkpoint == event_at(1)

    def test_a_checkpoint_that_is_not_where_it_was_read_is_not_moved(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1)

        with pytest.raises(ReadModelUnavailable):
            samples.handle(live, samples.make(), 2, before=START)

        assert samples.rows(live.db) == [("row 1", 1)]

    def test_a_handler_cannot_end_the_transaction(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        at = samples.prepared(live, samples.make(), 1)

        with pytest.raises(Exception):  # noqa: B017, PT011 - the database's own
            _commit_inside(live, samples)

        assert samples.rows(live.db) == [("row 1", 1)]
        samples.handle(live, samples.make(), 2, before=at)

    def test_a_transaction_inside_another_is_undone_alone(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1)

        with live.transaction():
            samples.put(live, 2)
            live.save(Record("skip", "counts", "a", "{}"))
            with pytest.raises(ZeroDivisionError):
                _break_off_inside(live, samples)
            inside = samples.rows(live.db)

        assert inside == samples.rows(live.db) == [("row 1", 1), ("row 2", 2)]
        assert [record.key for record in models.records("skip")] == ["a"]

    def test_a_transaction_inside_another_is_undone_with_it(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        at = samples.prepared(live, samples.make(), 1)

        with pytest.raises(ZeroDivisionError):
            _break_off_around(live, samples, before=at)

        assert samples.rows(live.db) == [("row 1", 1)]
        assert load_state(live, "counts").checkpoint == event_at(1)

    def test_preparing_again_keeps_everything(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        at = samples.prepared(live, samples.make(), 1)

        assert prepare(live, samples.make(), store_id=STORE, now=NOON).checkpoint == at
        assert samples.rows(live.db) == [("row 1", 1)]

    def test_a_new_migration_is_applied_to_the_rows_there_are(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1)

        prepare(
            live,
            samples.make(then=samples.tables.set_amounts("counts", 7)),
            store_id=STORE,
            now=NOON,
        )

        assert samples.rows(live.db) == [("row 1", 7)]

    def test_rows_of_another_version_or_before_a_migration_that_needs_history_need_a_rebuild(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1)

        for changed in (
            samples.make(version=2),
            samples.make(then=f"-- eskit: rebuild\n{samples.tables.set_amounts('counts', 7)}"),
        ):
            with pytest.raises(RebuildNeeded):
                prepare(live, changed, store_id=STORE, now=NOON)
            with pytest.raises(RebuildNeeded):
                check(models, changed)

    def test_an_edited_migration_is_refused(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1)
        samples.edit()

        with pytest.raises(MigrationInvalid):
            prepare(live, projection, store_id=STORE, now=NOON)
        with pytest.raises(MigrationInvalid):
            check(models, projection)

    def test_a_migration_that_fails_leaves_nothing(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        broken = samples.make(then=samples.tables.broken)

        with pytest.raises(MigrationInvalid):
            prepare(live, broken, store_id=STORE, now=NOON)

        assert find_state(models, "counts") is None

    def test_a_reader_sees_one_moment(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        at = samples.prepared(live, samples.make(), 1)

        with models.reader() as db:
            before = samples.rows(db)
            samples.handle(live, samples.make(), 2, before=at)
            again = samples.rows(db)
        with models.reader() as db:
            after = samples.rows(db)

        assert before == again == [("row 1", 1)]
        assert after == [("row 1", 1), ("row 2", 2)]

    def test_projections_are_listed_by_name(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        for name in ("zebras", "ants", "counts"):
            samples.prepared(live, samples.make(name))

        assert [state.name for state in list_states(models)] == [
            "ants",
            "counts",
            "zebras",
        ]

    def test_one_process_runs_a_projection(self, models: ReadModels[Any]) -> None:
        with lock_of(models, "counts", "run") as lock:
            holder = lock.find_holder()
            with pytest.raises(ProjectionBusy), lock_of(models, "counts", "run"):
                pass
            with lock_of(models, "counts", "rebuild"), lock_of(models, "other", "run"):
                pass
        assert holder is not None
        assert lock_of(models, "counts", "run").find_holder() is None


class BookkeepingContract:
    """Records, and what they keep: failures, dead letters, skips, effects and decisions."""

    def test_records_are_kept_by_kind_projection_and_key(
        self, live: LiveReadModel[Any], models: ReadModels[Any]
    ) -> None:
        kept = [
            Record("skip", "ants", "b", '"\u00e9"'),
            Record("skip", "counts", "a", "1"),
            Record("skip", "counts", "b", "2"),
        ]
        with live.transaction():
            for record in (*reversed(kept), Record("effect", "counts", "a", "3")):
                live.save(record)
            live.save(Record("skip", "counts", "a", "0"))
            live.save(kept[1])

        for place in (live, models):
            assert place.records("skip") == kept
            assert place.records("skip", "counts") == kept[1:]
            assert place.records("skip", "counts", "b") == kept[2:]
            assert place.records("skip", "bees") == place.records("failure") == []
        with live.transaction():
            live.delete("skip", "counts", "a")
            live.delete("skip", "counts", "never there")
        assert models.records("skip") == [kept[0], kept[2]]

    def test_the_last_failure_of_each_phase_is_kept_until_it_is_cleared(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make())
        with live.transaction():
            for kept in (failure(3, "rebuild"), failure(3), failure(4)):
                save_failure(live, kept)

        assert find_failures(live, "counts") == [failure(4), failure(3, "rebuild")]
        assert find_failures(models, "counts") == [failure(4), failure(3, "rebuild")]
        with live.transaction():
            clear_failures(live, "counts", "run")
        assert find_failures(live, "counts") == [failure(3, "rebuild")]
        assert find_failures(live, "other") == []

    def test_dead_letters_are_kept_by_position(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make())
        with live.transaction():
            for kept in (letter(5), letter(3), letter(5, error="again")):
                save_dead_letter(live, kept)

        assert find_dead_letters(models, "counts") == [letter(3), letter(5, error="again")]
        state = find_state(live, "counts")
        assert state is not None
        assert state.has_exceptions
        with live.transaction():
            delete_dead_letter(live, letter(3))
            delete_dead_letter(live, letter(5))
        state = find_state(live, "counts")
        assert state is not None
        assert not state.has_exceptions

    def test_a_skip_is_kept_and_guards(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make())
        with live.transaction():
            save_skip(live, skip(4))
            save_skip(live, skip(2))

        assert find_skips(live, "counts") == find_skips(models, "counts") == [skip(2), skip(4)]
        state = find_state(live, "counts")
        assert state is not None
        assert state.has_exceptions

    def test_an_effect_is_recorded_once_and_due_until_it_was_called(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make())
        with live.transaction():
            recorded = [record_effect(live, effect(2)), record_effect(live, effect(1))]
            again = record_effect(live, effect(2))
        with live.transaction():
            save_failed_effect(live, effect(2, attempts=1, error="KeyError: 'eur'"))

        assert (recorded, again) == ([True, True], False)
        due = [effect(1), effect(2, attempts=1, error="KeyError: 'eur'")]
        assert find_effects(live, "counts") == find_effects(models, "counts") == due
        with live.transaction():
            finish_effect(live, effect(1))
            finish_effect(live, effect(2))
        with live.transaction():
            assert not record_effect(live, effect(2))
        assert find_effects(live, "counts") == []

    def test_a_pause_lasts_until_it_is_ended(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1)
        with live.transaction():
            save_state(live, replace(load_state(live, "counts"), pause="rates are wrong"))
        paused = find_state(live, "counts")
        with live.transaction():
            save_state(live, replace(load_state(live, "counts"), pause=None))
        resumed = find_state(live, "counts")

        assert paused is not None
        assert (paused.pause, paused.checkpoint) == ("rates are wrong", event_at(1))
        assert resumed is not None
        assert resumed.pause is None

    def test_a_moved_checkpoint_forgets_what_stopped_it_and_what_comes_again(
        self, live: LiveReadModel[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make(), 1, 2, 3)
        with live.transaction():
            for kept in (failure(4), failure(4, "retry"), failure(4, "rebuild")):
                save_failure(live, kept)
            save_dead_letter(live, letter(2))
            save_dead_letter(live, letter(3))
        with live.transaction():
            move_checkpoint(
                live,
                load_state(live, "counts"),
                store_id="another",
                checkpoint=event_at(2),
                now=NOON,
            )

        state = find_state(live, "counts")
        assert state is not None
        assert (state.checkpoint, state.store_id) == (event_at(2), "another")
        assert find_failures(live, "counts") == [failure(4, "rebuild")]
        assert find_dead_letters(live, "counts") == [letter(2)]
        assert samples.rows(live.db) == [("row 1", 1), ("row 2", 2), ("row 3", 3)]

    def test_a_projection_goes_on_by_another_name(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        at = samples.prepared(live, samples.make(), 1)
        with live.transaction():
            save_dead_letter(live, letter(1))
            save_decision(live, decision("pause"))
            live.rename("counts", "tallies")

        state = find_state(models, "tallies")
        assert state is not None
        assert (state.checkpoint, state.has_exceptions) == (at, True)
        assert find_state(models, "counts") is None
        assert find_dead_letters(models, "counts") == []
        assert list_decisions(models, "counts") == []
        assert samples.rows(live.db) == [("row 1", 1)]

    def test_a_dropped_projection_leaves_only_its_audit_record(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        projection = samples.make()
        samples.prepared(live, projection, 1)
        samples.prepared(live, samples.make("other"), 1)
        with live.transaction():
            save_dead_letter(live, letter(1))
            save_skip(live, skip(2))
            record_effect(live, effect(1))
            save_failure(live, failure(3))
            save_decision(live, decision("drop"))
            forget(live, "counts")

        assert find_state(models, "counts") is None
        assert find_dead_letters(models, "counts") == []
        assert find_skips(models, "counts") == []
        assert find_effects(models, "counts") == []
        assert find_failures(models, "counts") == []
        assert list_decisions(models, "counts") == [decision("drop")]
        assert samples.rows(live.db, "other") == [("row 1", 1)]
        assert prepare(live, projection, store_id=STORE, now=NOON).checkpoint == START
        assert samples.rows(live.db) == []

    def test_decisions_are_listed_as_they_were_made(
        self, live: LiveReadModel[Any], models: ReadModels[Any], samples: Samples
    ) -> None:
        samples.prepared(live, samples.make())
        for action in ("pause", "resume", "pause"):
            with live.transaction():
                save_decision(live, decision(action))

        decisions = list_decisions(models, "counts")
        assert decisions == [decision("pause"), decision("resume"), decision("pause")]
        assert list_decisions(models, "other") == []
