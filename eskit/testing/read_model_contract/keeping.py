"""Rows and checkpoint kept together, and everything else that is remembered of a projection."""

from __future__ import annotations

import pytest

from eskit.errors import MigrationInvalid, ProjectionBusy, ReadModelUnavailable, RebuildNeeded
from eskit.projections.port import LiveReadModel, ReadModels
from eskit.projections.records import START, EventPosition
from eskit.testing.read_model_contract.samples import (
    STORE,
    Projections,
    decision,
    effect,
    event_at,
    failure,
    handle,
    letter,
    prepared,
    put,
    rows,
    skip,
)


def _break_off(live: LiveReadModel, *, seen: EventPosition) -> None:
    with live.transaction():
        put(live, "row 2", 2)
        live.advance("counts", seen=seen, passed=event_at(2))
        raise ZeroDivisionError


def _commit_inside(live: LiveReadModel) -> None:
    with live.transaction():
        put(live, "row 2", 2)
        live.db.execute("COMMIT")


class RowContract:
    """Tables, transactions, checkpoints and readers."""

    def test_nothing_is_known_before_the_first_run(self, models: ReadModels) -> None:
        assert models.list_states() == []
        assert models.find_state("counts") is None
        assert models.find_failures("counts") == []
        assert models.find_dead_letters("counts") == []
        assert models.find_shadow("counts") is None
        with pytest.raises(ReadModelUnavailable), models.reader():
            pass

    def test_a_prepared_projection_has_its_tables_and_stands_at_the_start(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        state = live.prepare(projections.make(), store_id=STORE)

        assert (state.name, state.version, state.store_id) == ("counts", 1, STORE)
        assert (state.checkpoint, state.pause, state.has_exceptions) == (START, None, False)
        assert models.find_state("counts") == state
        with models.reader() as db:
            assert rows(db) == []

    def test_rows_and_checkpoint_are_kept_together(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1, 2)

        with models.reader() as db:
            assert rows(db) == [("row 1", 1), ("row 2", 2)]
        state = models.find_state("counts")
        assert state is not None
        assert state.checkpoint == event_at(2)

    def test_rows_and_checkpoint_are_undone_together(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        at = prepared(live, projections.make(), 1)

        with pytest.raises(ZeroDivisionError):
            _break_off(live, seen=at)

        with models.reader() as db:
            assert rows(db) == [("row 1", 1)]
        state = live.find_state("counts")
        assert state is not None
        assert state.checkpoint == event_at(1)

    def test_a_checkpoint_that_is_not_where_it_was_seen_is_not_moved(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1)

        with pytest.raises(ReadModelUnavailable):
            handle(live, projections.make(), 2, seen=START)

        assert rows(live.db) == [("row 1", 1)]

    def test_a_handler_cannot_end_the_transaction(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        at = prepared(live, projections.make(), 1)

        with pytest.raises(Exception):  # noqa: B017, PT011 - the database's own
            _commit_inside(live)

        assert rows(live.db) == [("row 1", 1)]
        handle(live, projections.make(), 2, seen=at)

    def test_preparing_again_keeps_everything(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        at = prepared(live, projections.make(), 1)

        assert live.prepare(projections.make(), store_id=STORE).checkpoint == at
        assert rows(live.db) == [("row 1", 1)]

    def test_a_new_migration_is_applied_to_the_rows_there_are(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1)

        live.prepare(projections.make(then="UPDATE counts SET amount = 7;"), store_id=STORE)

        assert rows(live.db) == [("row 1", 7)]

    def test_rows_of_another_version_or_before_a_migration_that_needs_history_need_a_rebuild(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1)

        for changed in (
            projections.make(version=2),
            projections.make(then="-- eskit: rebuild\nUPDATE counts SET amount = 7;"),
        ):
            with pytest.raises(RebuildNeeded):
                live.prepare(changed, store_id=STORE)
            with pytest.raises(RebuildNeeded):
                models.check(changed)

    def test_an_edited_migration_is_refused(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1)
        projections.edit()

        with pytest.raises(MigrationInvalid):
            live.prepare(projection, store_id=STORE)
        with pytest.raises(MigrationInvalid):
            models.check(projection)

    def test_a_migration_that_fails_leaves_nothing(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        broken = projections.make(then="INSERT INTO nowhere VALUES (1);")

        with pytest.raises(MigrationInvalid):
            live.prepare(broken, store_id=STORE)

        assert models.find_state("counts") is None

    def test_a_reader_sees_one_moment(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        at = prepared(live, projections.make(), 1)

        with models.reader() as db:
            before = rows(db)
            handle(live, projections.make(), 2, seen=at)
            again = rows(db)
        with models.reader() as db:
            after = rows(db)

        assert before == again == [("row 1", 1)]
        assert after == [("row 1", 1), ("row 2", 2)]

    def test_projections_are_listed_by_name(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        for name in ("zebras", "ants", "counts"):
            prepared(live, projections.make(name))

        assert [state.name for state in models.list_states()] == [
            "ants",
            "counts",
            "zebras",
        ]

    def test_one_process_runs_a_projection(self, models: ReadModels) -> None:
        with models.lock("counts", "run") as lock:
            holder = lock.find_holder()
            with pytest.raises(ProjectionBusy), models.lock("counts", "run"):
                pass
            with models.lock("counts", "rebuild"), models.lock("other", "run"):
                pass
        assert holder is not None
        assert models.lock("counts", "run").find_holder() is None


class BookkeepingContract:
    """Failures, dead letters, skips, effects and decisions."""

    def test_the_last_failure_of_each_phase_is_kept_until_it_is_cleared(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make())
        with live.transaction():
            for kept in (failure(3, "rebuild"), failure(3), failure(4)):
                live.save_failure(kept)

        assert live.find_failures("counts") == [failure(4), failure(3, "rebuild")]
        assert models.find_failures("counts") == [failure(4), failure(3, "rebuild")]
        with live.transaction():
            live.clear_failure("counts", "run")
        assert live.find_failures("counts") == [failure(3, "rebuild")]
        assert live.find_failures("other") == []

    def test_dead_letters_are_kept_by_position(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make())
        with live.transaction():
            for kept in (letter(5), letter(3), letter(5, error="again")):
                live.save_dead_letter(kept)

        assert models.find_dead_letters("counts") == [letter(3), letter(5, error="again")]
        state = live.find_state("counts")
        assert state is not None
        assert state.has_exceptions
        with live.transaction():
            live.delete_dead_letter("counts", 3)
            live.delete_dead_letter("counts", 5)
        state = live.find_state("counts")
        assert state is not None
        assert not state.has_exceptions

    def test_a_skip_is_kept_and_guards(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make())
        with live.transaction():
            live.save_skip(skip(4))
            live.save_skip(skip(2))

        assert live.find_skips("counts") == models.find_skips("counts") == [skip(2), skip(4)]
        state = live.find_state("counts")
        assert state is not None
        assert state.has_exceptions

    def test_an_effect_is_recorded_once_and_due_until_it_was_called(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make())
        with live.transaction():
            recorded = [live.save_effect(effect(2)), live.save_effect(effect(1))]
            again = live.save_effect(effect(2))
        with live.transaction():
            live.fail_effect(effect(2, attempts=1, error="KeyError: 'eur'"))

        assert (recorded, again) == ([True, True], False)
        due = [effect(1), effect(2, attempts=1, error="KeyError: 'eur'")]
        assert live.find_effects("counts") == models.find_effects("counts") == due
        with live.transaction():
            live.finish_effect(effect(1))
            live.finish_effect(effect(2))
        with live.transaction():
            assert not live.save_effect(effect(2))
        assert live.find_effects("counts") == []

    def test_a_pause_lasts_until_it_is_ended(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1)
        with live.transaction():
            live.pause("counts", reason="rates are wrong")
        paused = live.find_state("counts")
        with live.transaction():
            live.resume("counts")
        resumed = live.find_state("counts")

        assert paused is not None
        assert (paused.pause, paused.checkpoint) == ("rates are wrong", event_at(1))
        assert resumed is not None
        assert resumed.pause is None

    def test_a_moved_checkpoint_forgets_what_stopped_it_and_what_comes_again(
        self, live: LiveReadModel, projections: Projections
    ) -> None:
        prepared(live, projections.make(), 1, 2, 3)
        with live.transaction():
            for kept in (failure(4), failure(4, "retry"), failure(4, "rebuild")):
                live.save_failure(kept)
            live.save_dead_letter(letter(2))
            live.save_dead_letter(letter(3))
        with live.transaction():
            live.move_checkpoint("counts", store_id="another", checkpoint=event_at(2))

        state = live.find_state("counts")
        assert state is not None
        assert (state.checkpoint, state.store_id) == (event_at(2), "another")
        assert live.find_failures("counts") == [failure(4, "rebuild")]
        assert live.find_dead_letters("counts") == [letter(2)]
        assert rows(live.db) == [("row 1", 1), ("row 2", 2), ("row 3", 3)]

    def test_a_projection_goes_on_by_another_name(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        at = prepared(live, projections.make(), 1)
        with live.transaction():
            live.save_dead_letter(letter(1))
            live.save_decision(decision("pause"))
            live.rename("counts", "tallies")

        state = models.find_state("tallies")
        assert state is not None
        assert (state.checkpoint, state.has_exceptions) == (at, True)
        assert models.find_state("counts") is None
        assert models.find_dead_letters("counts") == []
        assert models.list_decisions("counts") == []
        assert rows(live.db) == [("row 1", 1)]

    def test_a_dropped_projection_leaves_only_its_audit_record(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        projection = projections.make()
        prepared(live, projection, 1)
        prepared(live, projections.make("other"), 1)
        with live.transaction():
            live.save_dead_letter(letter(1))
            live.save_skip(skip(2))
            live.save_effect(effect(1))
            live.save_failure(failure(3))
            live.save_decision(decision("drop"))
            live.drop("counts")

        assert models.find_state("counts") is None
        assert models.find_dead_letters("counts") == []
        assert models.find_skips("counts") == []
        assert models.find_effects("counts") == []
        assert models.find_failures("counts") == []
        assert models.list_decisions("counts") == [decision("drop")]
        assert rows(live.db, "other") == [("row 1", 1)]
        assert live.prepare(projection, store_id=STORE).checkpoint == START
        assert rows(live.db) == []

    def test_decisions_are_listed_as_they_were_made(
        self, live: LiveReadModel, models: ReadModels, projections: Projections
    ) -> None:
        prepared(live, projections.make())
        for action in ("pause", "resume", "pause"):
            with live.transaction():
                live.save_decision(decision(action))

        decisions = models.list_decisions("counts")
        assert decisions == [decision("pause"), decision("resume"), decision("pause")]
        assert models.list_decisions("other") == []
