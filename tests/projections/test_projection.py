from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eskit import PostgresDatabase, Projection
from eskit.errors import InvalidArgument
from tests.support.account_events import Counted, MoneyDeposited, NoteAdded


def test_a_handler_stays_a_function_that_can_be_called():
    projection = Projection("notes")
    seen = []

    @projection.on(NoteAdded)
    def noted(event, context):
        seen.append(event.text)

    noted(NoteAdded(text="hello"), None)
    assert seen == ["hello"]
    assert projection.handlers == {"eskit.tests.ledger.v1.NoteAdded": noted}


def test_one_handler_may_take_several_event_types():
    projection = Projection("activity")

    @projection.on(NoteAdded, MoneyDeposited)
    def anything(event, context): ...

    assert len(projection.handlers) == 2


@pytest.mark.parametrize("name", ["", "Account Balance", "../x", "a" * 64, "-x", "A"])
def test_a_name_that_cannot_be_a_file_or_is_hard_to_type_is_refused(name):
    with pytest.raises(InvalidArgument, match="is not a projection name"):
        Projection(name)


def test_versions_count_from_one():
    with pytest.raises(InvalidArgument, match="version 0"):
        Projection("counts", version=0)


def test_two_handlers_for_one_event_type_are_refused():
    projection = Projection("counts")

    @projection.on(Counted)
    def first(event, context): ...

    with pytest.raises(InvalidArgument, match=r"two handlers for eskit\.tests\.ledger"):
        projection.on(Counted)(first)


def test_a_coroutine_function_is_refused():
    projection = Projection("counts")

    async def handler(event, context): ...

    with pytest.raises(InvalidArgument, match="coroutine"):
        projection.on(Counted)(handler)


def test_on_without_an_event_is_refused():
    with pytest.raises(InvalidArgument, match="needs an event type"):
        Projection("counts").on()


def test_migrations_are_relative_to_the_module_that_makes_the_projection():
    projection = Projection("counts", migrations="migrations/counts")
    typed = Projection[PostgresDatabase]("counts", migrations="migrations/counts")

    assert projection.migrations == Path(__file__).parent / "migrations" / "counts"
    assert typed.migrations == projection.migrations


def test_declaring_a_projection_loads_no_database():
    code = (
        "import sys; from eskit import Projection, EventContext; Projection('x'); "
        "heavy = {'sqlite3', 'sqlite_utils', 'eskit.projections.engine'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )

    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 0, finished.stderr
