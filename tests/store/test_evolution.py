"""A store of real events, and what each change of their proto would do to them."""

from __future__ import annotations

import pytest

from eskit.domain.events import NewEvent
from eskit.domain.streams import ANY
from eskit.domain.upcasting import Upcasters, upcast
from eskit.operations.erasing import erase
from eskit.operations.evolution import check_evolution
from eskit.schema.changes import ChangeSeverity
from tests.support.schema_versions import event, message, parsed
from tests.support.stores import memory_store, sqlite_store

SENT = "string to = 1; string weight = 2; Way way = 3;"
WAY = "enum Way { ROAD = 0; AIR = 1; SEA = 2; }"
LOST = event("Lost", "string why = 1;")


def protos(sent=SENT, *, way=WAY, rest=LOST, **options):
    return parsed(event("Sent", sent) + way + rest, **options)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    """Four events: two hold a weight, one goes by sea, one was lost."""
    path = tmp_path / "log.db"
    opened = (
        memory_store() if request.param == "memory" else sqlite_store(path, f"sqlite:///{path}")
    )
    body = event("Sent", SENT) + WAY + LOST
    with opened as store:
        for stream, stored in (
            ("P-1", message(body, "Sent", to="Oslo")),
            ("P-2", message(body, "Sent", to="Bern", weight="5 g")),
            ("P-1", message(body, "Sent", weight="9 g", way=2)),
            ("P-2", message(body, "Lost", why="storm")),
        ):
            store.append(stream, [NewEvent(stored)], expected_version=ANY)
        yield store


def findings(found):
    return [
        (f.change.rule, f.change.severity.value, f.events, (f.position, f.stream))
        for f in found.findings
    ]


def test_the_same_protos_fit(store):
    found = check_evolution(protos(), store=store, decode=True)

    assert (found.verdict, found.findings, found.breaking) == ("FULL", [], False)
    assert found.compared == 2


def test_adding_fields_values_and_events_fits(store):
    found = check_evolution(
        protos(
            SENT + "string by = 4;",
            way="enum Way { ROAD = 0; AIR = 1; SEA = 2; FOOT = 3; }",
            rest=LOST + event("Found", ""),
        ),
        store=store,
    )

    assert (found.verdict, found.findings) == ("FULL", [])
    assert {change.rule for change in found.additions} == {
        "FIELD_ADDED",
        "ENUM_VALUE_ADDED",
        "EVENT_TYPE_ADDED",
    }


def test_renaming_a_field_is_a_warning_with_the_events_that_hold_it(store):
    found = check_evolution(protos(SENT.replace("weight", "mass")), store=store)

    assert findings(found) == [("FIELD_RENAMED", "warning", 2, (2, "P-2"))]
    assert (found.verdict, found.breaking) == ("FULL", False)


@pytest.mark.promise("schema-breaks-are-found")
def test_another_type_of_a_field_breaks_the_events_that_hold_it(store):
    changed = protos(SENT.replace("string weight", "int64 weight"))

    found = check_evolution(changed, store=store, decode=True)

    assert findings(found) == [
        ("FIELD_TYPE_CHANGED", "breaking", 2, (2, "P-2")),
        ("FIELDS_NOT_READ", "warning", 2, (2, "P-2")),
    ]
    assert (found.verdict, found.breaking) == ("BREAKING", True)


def test_a_number_used_again_breaks_the_events_that_hold_the_old_field(store):
    found = check_evolution(
        protos(SENT.replace("string weight = 2", "int64 grams = 2")), store=store
    )

    assert findings(found) == [("FIELD_NUMBER_REUSED", "breaking", 2, (2, "P-2"))]


def test_removing_a_field_breaks_until_its_number_is_reserved(store):
    removed = SENT.replace("string weight = 2;", "")

    open_ended = check_evolution(protos(removed), store=store)
    reserved = check_evolution(protos(removed + 'reserved 2; reserved "weight";'), store=store)

    assert findings(open_ended) == [("FIELD_REMOVED", "breaking", 2, (2, "P-2"))]
    assert "reserved 2" in open_ended.findings[0].change.fix
    assert findings(reserved) == [("FIELD_REMOVED", "warning", 2, (2, "P-2"))]


def test_removing_an_enum_value_counts_the_events_that_have_it(store):
    found = check_evolution(protos(way="enum Way { ROAD = 0; AIR = 1; }"), store=store)

    assert findings(found) == [("ENUM_VALUE_REMOVED", "breaking", 1, (3, "P-1"))]


def test_removing_an_event_type_breaks_all_its_events(store):
    found = check_evolution(protos(rest=""), store=store)

    assert findings(found) == [("EVENT_TYPE_REMOVED", "breaking", 1, (4, "P-2"))]


def test_another_package_breaks_everything(store):
    found = check_evolution(protos(package="parcel.v2"), store=store)

    assert findings(found) == [
        ("PACKAGE_CHANGED", "breaking", 3, (1, "P-1")),
        ("PACKAGE_CHANGED", "breaking", 1, (4, "P-2")),
    ]


@pytest.mark.promise("schema-breaks-are-found")
def test_a_new_type_beside_the_old_one_with_an_upcaster_fits(store):
    body = (
        event("Sent", "option deprecated = true;" + SENT)
        + event("SentV2", "string to = 1; int64 grams = 2;")
        + WAY
        + LOST
    )
    old, new = type(message(body, "Sent")), type(message(body, "SentV2"))
    upcasters = Upcasters([upcast(old, to=new)(lambda sent: new(to=sent.to))])

    without = check_evolution(parsed(body), store=store, upcasters=Upcasters(), decode=True)
    fits = check_evolution(parsed(body), store=store, upcasters=upcasters, decode=True)

    assert findings(without) == [("NOT_UPCAST", "breaking", 3, (1, "P-1"))]
    assert (fits.verdict, fits.findings) == ("FULL", [])


def test_an_upcaster_that_never_runs_is_told(store):
    body = event("Never", "") + event("Twice", "") + LOST
    never, twice, lost = (type(message(body, name)) for name in ("Never", "Twice", "Lost"))
    upcasters = Upcasters(
        [upcast(never, to=twice)(lambda old: old), upcast(lost, to=lost)(lambda old: old)]
    )

    found = check_evolution(protos(), store=store, upcasters=upcasters)

    assert [(f.change.rule, f.change.event_type) for f in found.findings] == [
        ("UPCASTER_UNUSED", "parcel.v1.Never")
    ]
    assert not found.breaking


def test_a_step_in_the_middle_of_a_chain_runs(store):
    body = event("Middle", "") + event("Last", "") + LOST
    lost, middle, last = (type(message(body, name)) for name in ("Lost", "Middle", "Last"))
    chain = Upcasters(
        [upcast(lost, to=middle)(lambda old: old), upcast(middle, to=last)(lambda old: old)]
    )

    assert check_evolution(protos(), store=store, upcasters=chain).findings == []


def test_erased_events_hold_nothing_that_could_break(store):
    erase(store, ["P-2"], reason="asked for", erased_by="test")

    found = check_evolution(
        protos(SENT.replace("string weight", "int64 weight")), store=store, decode=True
    )

    removed = check_evolution(protos(rest=""), store=store)

    assert [f.events for f in found.findings] == [1, 1]
    assert findings(removed) == [("EVENT_TYPE_REMOVED", "breaking", 0, (0, ""))]


def test_a_baseline_is_compared_as_well_and_its_findings_are_counted_in_the_store(store):
    before = protos(SENT + "string never_stored = 9;")

    found = check_evolution(protos(), store=store, baseline=before)

    assert findings(found) == [("FIELD_REMOVED", "breaking", 0, (0, ""))]


def test_without_a_store_the_baseline_alone_is_compared():
    same = check_evolution(protos(), store=None, baseline=protos())
    broken = check_evolution(
        protos(SENT.replace("to = 1", "to = 7")), store=None, baseline=protos()
    )

    assert (same.verdict, same.compared) == ("FULL", 2)
    assert [f.change.severity for f in broken.findings] == [ChangeSeverity.BREAKING]


@pytest.mark.promise("schema-breaks-are-found")
def test_every_schema_an_event_type_ever_had_counts(store):
    removed = SENT.replace("string weight = 2;", "")
    later = message(event("Sent", removed) + WAY, "Sent", to="Rome")
    store.append("P-3", [NewEvent(later)], expected_version=ANY)

    found = check_evolution(
        protos(SENT.replace("string weight = 2", "int64 grams = 2")), store=store
    )

    assert ("FIELD_NUMBER_REUSED", "breaking", 2, (2, "P-2")) in findings(found)
