"""Export and import: everything comes back, nothing half done is taken for done."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eskit.domain.claims import claim, release
from eskit.domain.commands import Command
from eskit.domain.events import Metadata
from eskit.domain.streams import ANY
from eskit.errors import (
    CommandIdReused,
    InvalidArgument,
    ProjectError,
    StoreDamaged,
    StoreUnavailable,
    StreamNotFound,
)
from eskit.operations.claims import check_claims
from eskit.operations.erasing import erase
from eskit.operations.export_format import ExportInvalid
from eskit.operations.exporting import export_log
from eskit.operations.files import back_up
from eskit.operations.importing import import_log
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.store.records import CommandRow, Erasure
from eskit.store.reports import no_progress
from eskit.store.sqlite.location import SqliteLocation
from eskit.testing.maintenance_contract import claims, records
from eskit.testing.store_contract import text, texts
from tests.support.coded import coded

URL, COPY = "sqlite:///log.db", "sqlite:///copy.db"
EXPORT = Path("log.jsonl")
INTERRUPTED = Path(__file__).parent / "interrupted.py"


@pytest.fixture(params=[URL, "memory://"])
def store(request):
    with open_store(request.param) as store:
        yield store


@pytest.fixture
def sqlite_store():
    with open_store(URL) as store:
        yield store


def fill(store):
    metadata = Metadata(correlation_id="c", principal_id="ann", custom={"ключ": '☃ "\n\u2028'})
    store.append(
        "Account-1", [text("é", claim("name", "☃"), metadata=metadata)], expected_version=0
    )
    store.for_tenant("acme").append("Account-2", texts("", "\x00"), expected_version=0)
    store.append("Account-1", [text("b", release("name", "☃"))], expected_version=1)
    command = Command(id="c1", fingerprint="Open", response=b"ok")
    store.append("Account-3", [text("c", claim("name", "☃"))], expected_version=0, command=command)
    erase(store.for_tenant("acme"), ["Account-2"], reason="asked", erased_by="dpo")


def fill_much(store, events=5_000):
    for number in range(events // 1000):
        command = Command(id=f"c{number}", fingerprint="Open")
        store.append(
            f"Account-{number}", texts(*["x" * 50] * 1000), expected_version=0, command=command
        )


def commands(store):
    with store.view() as view:
        return list(view.rows(CommandRow))


def erasures(store):
    with store.view() as view:
        return list(view.rows(Erasure))


def run_interrupted(*arguments):
    command = [sys.executable, INTERRUPTED, *map(str, arguments)]
    return subprocess.run(command, timeout=60, check=False).returncode


@pytest.mark.promise("imports-are-exact")
def test_a_log_comes_back_as_it_was_under_a_new_store_id(store):
    fill(store)

    exported = export_log(store, EXPORT)
    imported = import_log(EXPORT, COPY)

    assert (exported.events, exported.erasures, exported.head) == (5, 1, 5)
    assert (imported.events, imported.erasures, imported.head) == (5, 1, 5)
    assert imported.origin == store.store_id != imported.store_id
    with open_store(COPY, create=False) as copy:
        assert copy.store_id == imported.store_id
        assert records(copy) == records(store)
        assert claims(copy) == claims(store)
        assert erasures(copy) == erasures(store)
        assert copy.load_schemas() == store.load_schemas()
        assert verify(copy).verdict == "ok"
        assert check_claims(copy).count == 0
        assert copy.append("Account-1", texts("on"), expected_version=2).global_position == 6


def test_an_export_is_json_lines_that_anybody_can_read(store):
    fill(store)

    export_log(store, EXPORT)

    lines = map(json.loads, EXPORT.read_text().splitlines())
    header, erasure, schema, *events, command, footer = lines
    assert (header["kind"], header["format"], header["head"]) == ("header", 1, 5)
    assert (erasure["stream"], erasure["reason"]) == ("Account-2", "asked")
    assert [event["global_position"] for event in events] == [1, 2, 3, 4, 5]
    assert [event["erased"] for event in events] == [False, True, True, False, False]
    assert events[0]["metadata"]["custom"] == {"ключ": '☃ "\n\u2028'}
    assert (schema["kind"], schema["event_type"]) == ("schema", "google.protobuf.StringValue")
    assert (command["id"], command["stream"], command["version"]) == ("c1", "Account-3", 1)
    assert (footer["kind"], footer["events"], footer["erasures"]) == ("footer", 5, 1)


def test_chosen_streams_keep_their_positions(store):
    fill(store)

    report = export_log(store, EXPORT, streams=["Account-3"])
    import_log(EXPORT, COPY)

    assert (report.events, report.erasures) == (1, 0)
    with open_store(COPY) as copy:
        assert [event.global_position for event in copy.read_all()] == [5]
        assert verify(copy).verdict == "ok"


@pytest.mark.promise("imports-are-exact")
def test_a_command_that_was_done_before_an_export_is_not_done_again_after_an_import(store):
    first = Command(id="c1", fingerprint="Open", response=b"first")
    nothing = Command(id="c2", fingerprint="Check", response=b"fine")
    store.append("Account-1", texts("a"), expected_version=0, command=first)
    store.append("Account-2", [], expected_version=0, command=nothing)

    exported = export_log(store, EXPORT)
    imported = import_log(EXPORT, COPY)

    assert exported.commands == imported.commands == 2
    with open_store(COPY) as copy:
        again = copy.append("Account-1", texts("a"), expected_version=0, command=first)
        checked = copy.append("Account-2", texts("b"), expected_version=0, command=nothing)
        assert (again.already_processed, again.response) == (True, b"first")
        assert (checked.already_processed, checked.response) == (True, b"fine")
        assert commands(copy) == commands(store)
        assert copy.count_events() == 1
        with pytest.raises(CommandIdReused):
            copy.append("Account-3", texts("b"), expected_version=0, command=first)


def test_chosen_streams_bring_their_commands_and_no_others(store):
    for number in (1, 2):
        command = Command(id=f"c{number}", fingerprint="Open")
        store.append(f"Account-{number}", texts("a"), expected_version=0, command=command)

    export_log(store, EXPORT, streams=["Account-2"])
    import_log(EXPORT, COPY)

    with open_store(COPY) as copy:
        assert [command.id for command in commands(copy)] == ["c2"]


def test_what_an_erased_stream_answered_is_not_exported(store):
    command = Command(id="c1", fingerprint="Open", response=b"secret")
    store.append("Account-1", texts("a"), expected_version=0, command=command)
    erase(store, ["Account-1"], reason="asked", erased_by="dpo")

    export_log(store, EXPORT)
    import_log(EXPORT, COPY)

    with open_store(COPY) as copy:
        assert [(kept.id, kept.response) for kept in commands(copy)] == [("c1", b"")]


def test_a_stream_that_does_not_exist_is_not_exported(store):
    with pytest.raises(StreamNotFound):
        export_log(store, EXPORT, streams=["Account-9"])

    assert not EXPORT.exists()


DAMAGE = [
    ("UPDATE events SET data = x'0a0178' WHERE global_position = 4", "Version 1 of Account-1"),
    (
        """UPDATE events SET metadata = '{"command_id":"x"}' WHERE global_position = 4""",
        "at 4, is not",
    ),
    ("DELETE FROM events WHERE global_position = 4", "Version 2 of Account-1 follows version 0"),
    ("DELETE FROM events WHERE global_position = 6", "Command 'c1' led to version 3 of Account-1"),
    (
        "UPDATE events SET recorded_at = 'x' WHERE global_position = 5",
        "recorded_at of the event at 5",
    ),
    (
        "UPDATE events SET recorded_at = 1 WHERE global_position = 5",
        "at 5, is not what was recorded",
    ),
    ("UPDATE events SET claims = '{' WHERE global_position = 5", "at 5, is not what was recorded"),
    (
        "UPDATE events SET claims = CAST(x'ff' AS TEXT) WHERE global_position = 5",
        "at 5, is not what was recorded",
    ),
    ("UPDATE commands SET recorded_at = 1 << 62", "commands.recorded_at of c1"),
    ("UPDATE kinds SET category = 'Xccount'", "events.kind_id of the event at"),
]


def damage(store, statement):
    store.append("Account-0", texts("a", "b", "c"), expected_version=0)
    store.append("Account-1", texts("a", "b"), expected_version=0)
    command = Command(id="c1", fingerprint="Open")
    store.append("Account-1", texts("c"), expected_version=2, command=command)
    with store.view(exclusive=True) as locked:
        locked._connection.execute(statement)


@pytest.mark.parametrize(("statement", "problem"), DAMAGE)
@pytest.mark.promise("damage-is-not-copied")
def test_a_damaged_log_is_not_exported(sqlite_store, statement, problem):
    damage(sqlite_store, statement)

    for streams in ((), ["Account-1"]):
        with pytest.raises(StoreDamaged, match=problem) as refused:
            export_log(sqlite_store, EXPORT, streams=streams)

        assert list(Path().glob("log.jsonl*")) == []
    assert refused.value.hint


def test_a_stream_is_exported_although_another_one_is_damaged(sqlite_store):
    damage(sqlite_store, "DELETE FROM events WHERE global_position = 4")

    export_log(sqlite_store, EXPORT, streams=["Account-0"])

    assert import_log(EXPORT, COPY).events == 3


def test_nothing_is_overwritten(store):
    EXPORT.write_text("mine")

    with pytest.raises(ProjectError, check=coded("TARGET_EXISTS")):
        export_log(store, EXPORT)

    assert EXPORT.read_text() == "mine"


@pytest.mark.parametrize("url", [COPY, "memory://filled"])
@pytest.mark.promise("imports-are-exact")
def test_import_does_not_mix_into_a_store_that_holds_something(sqlite_store, url):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    with open_store(url) as other:
        other.append("Account-7", texts("mine"), expected_version=ANY)

    with pytest.raises(ProjectError, check=coded("TARGET_EXISTS"), match="is not empty"):
        import_log(EXPORT, url)

    with open_store(url) as other:
        assert [event.stream for event in other.read_all()] == ["Account-7"]


@pytest.mark.parametrize("url", [COPY, "memory://empty"])
def test_import_fills_a_store_that_holds_nothing(sqlite_store, url):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    with open_store(url) as empty:
        imported = import_log(EXPORT, url)

        assert imported.store_id == empty.store_id
        assert records(empty) == records(sqlite_store)


def cut_the_end(lines):
    return lines[:-1]


def cut_a_line(lines):
    return [*lines[:-1], lines[-1][:40]]


def drop_an_event(lines):
    return [*lines[:4], *lines[5:]]


def change_a_payload(lines):
    return [line.replace(b'"data_base64":"CgFj"', b'"data_base64":"CgFk"') for line in lines]


def swap_events(lines):
    return [*lines[:5], lines[6], lines[5], *lines[7:]]


def add_a_line(lines):
    return [*lines, lines[4]]


def move_a_command(lines):
    return [*lines[:4], lines[-2], *lines[4:-2], lines[-1]]


def drop_a_command(lines):
    return [*lines[:-2], lines[-1]]


def ask_for_more(lines):
    return [lines[0].replace(b'"format":1', b'"format":2'), *lines[1:]]


def write_prose(_lines):
    return [b"Dear reader\n"]


@pytest.mark.parametrize(
    "change",
    [
        cut_the_end,
        cut_a_line,
        drop_an_event,
        change_a_payload,
        swap_events,
        add_a_line,
        move_a_command,
        drop_a_command,
        ask_for_more,
        write_prose,
    ],
)
@pytest.mark.parametrize("exists", [False, True], ids=["new", "empty"])
@pytest.mark.promise("imports-are-exact")
def test_an_export_that_was_altered_leaves_nothing_behind(sqlite_store, change, exists):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    lines = EXPORT.read_bytes().splitlines(keepends=True)
    assert change(lines) != lines
    EXPORT.write_bytes(b"".join(change(lines)))
    if exists:
        open_store(COPY).close()

    with pytest.raises(ExportInvalid):
        import_log(EXPORT, COPY)

    assert list(Path().glob("copy.db.partial*")) == []
    assert Path("copy.db").exists() == exists
    if exists:
        with open_store(COPY) as copy:
            assert copy.head_position() == 0


@pytest.mark.promise("finished-files-are-complete")
def test_two_imports_at_once_into_one_file_are_refused(sqlite_store):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    refused = []

    def import_as_well(_progress):
        with pytest.raises(
            ProjectError,
            check=coded("TARGET_EXISTS"),
            match=r"Another process is writing .*/copy\.db",
        ):
            import_log(EXPORT, COPY)
        refused.append(True)

    import_log(EXPORT, COPY, progress=import_as_well)

    assert refused
    with open_store(COPY, create=False) as copy:
        assert records(copy) == records(sqlite_store)


@pytest.mark.promise("finished-files-are-complete")
def test_two_exports_at_once_into_one_file_are_refused(sqlite_store):
    fill(sqlite_store)
    refused = []

    def export_as_well(_progress):
        with pytest.raises(
            ProjectError,
            check=coded("TARGET_EXISTS"),
            match=r"Another process is writing log\.jsonl",
        ):
            export_log(sqlite_store, EXPORT)
        refused.append(True)

    export_log(sqlite_store, EXPORT, progress=export_as_well)

    assert refused
    assert import_log(EXPORT, COPY).events == sqlite_store.info().events


def test_a_missing_export_is_named():
    with pytest.raises(StoreUnavailable, match="No such file"):
        import_log(EXPORT, COPY)


@pytest.mark.promise("finished-files-are-complete")
def test_an_export_goes_on_where_it_was_killed(sqlite_store):
    fill_much(sqlite_store)

    code = run_interrupted("export", 2, URL, EXPORT)
    left = EXPORT.with_name("log.jsonl.partial").read_bytes().count(b"\n")
    later = Command(id="later", fingerprint="Open")
    sqlite_store.append("Account-9", texts("later"), expected_version=ANY, command=later)
    report = export_log(sqlite_store, EXPORT)
    import_log(EXPORT, COPY)

    assert code == -signal.SIGKILL
    assert 0 < left < 5_000
    assert 0 < report.resumed_after < 5_000
    assert (report.events, report.commands, report.head) == (5_000, 5, 5_000)
    with open_store(COPY) as copy:
        assert records(copy) == records(sqlite_store)[:5_000]


def test_an_export_starts_anew_when_a_stream_was_erased_meanwhile(sqlite_store):
    fill_much(sqlite_store)
    run_interrupted("export", 3, URL, EXPORT)
    erase(sqlite_store, ["Account-0"], reason="asked", erased_by="dpo")

    report = export_log(sqlite_store, EXPORT)
    import_log(EXPORT, COPY)

    assert report.resumed_after == 0
    with open_store(COPY) as copy:
        assert records(copy) == records(sqlite_store)


def test_the_rest_of_another_export_is_not_gone_on_with(sqlite_store):
    fill_much(sqlite_store)
    run_interrupted("export", 3, URL, EXPORT)
    back_up(sqlite_store, Path("other.db"), progress=no_progress)
    with open_store("sqlite:///other.db") as other:
        assert export_log(other, EXPORT).resumed_after == 0
        assert import_log(EXPORT, COPY).origin == other.store_id
        with open_store(COPY) as copy:
            assert records(copy) == records(other)


@pytest.mark.parametrize("after", [0, 1, 3, 4, 5])
@pytest.mark.promise("finished-files-are-complete")
def test_an_import_goes_on_where_it_was_killed(sqlite_store, after):
    fill_much(sqlite_store)
    export_log(sqlite_store, EXPORT)

    code = run_interrupted("import", after, EXPORT, COPY)
    existed = Path("copy.db").exists()
    report = import_log(EXPORT, COPY)

    assert (code, existed) == (-signal.SIGKILL, False)
    assert report.resumed_after == min((after + 1) * 1000, 5_000)
    with open_store(COPY) as copy:
        assert records(copy) == records(sqlite_store)
        assert commands(copy) == commands(sqlite_store)
        assert verify(copy).verdict == "ok"


def test_the_rest_of_another_import_is_not_gone_on_with(sqlite_store):
    fill_much(sqlite_store)
    export_log(sqlite_store, EXPORT)
    run_interrupted("import", 1, EXPORT, COPY)
    with open_store("sqlite:///other.db") as other:
        fill_much(other)
        export_log(other, Path("other.jsonl"))

        report = import_log(Path("other.jsonl"), COPY)

        with open_store(COPY) as copy:
            assert records(copy) == records(other)
    assert report.resumed_after == 0


@pytest.mark.promise("imports-are-exact")
def test_an_import_writes_into_the_file_of_its_url_and_no_other(sqlite_store, tmp_path):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    with open_store("sqlite:///sales") as sales:
        import_log(EXPORT, f"sqlite:///{tmp_path}/sales%231%3F%25.db")

        assert sales.head_position() == 0
    with open_store("sqlite:///sales%231%3F%25.db", create=False) as copy:
        assert records(copy) == records(sqlite_store)
    assert Path("sales#1?%.db").is_file()


def test_an_import_through_a_link_makes_the_file_that_it_leads_to(sqlite_store):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    Path("disk").mkdir()
    Path("copy.db").symlink_to("disk/copy.db")

    import_log(EXPORT, COPY)

    assert Path("copy.db").is_symlink()
    with open_store("sqlite:///disk/copy.db", create=False) as copy:
        assert records(copy) == records(sqlite_store)


@pytest.mark.promise("imports-are-exact")
def test_an_import_adds_to_nothing_that_it_did_not_begin(sqlite_store, monkeypatch):
    fill(sqlite_store)
    export_log(sqlite_store, EXPORT)
    with open_store("sqlite:///sales.db") as sales:
        command = Command(id="c1", fingerprint="Open")
        sales.append("Sale-1", [], expected_version=ANY, command=command)
        monkeypatch.setattr(SqliteLocation, "at", lambda *_: sales.url)

        with pytest.raises(ProjectError, check=coded("TARGET_EXISTS")):
            import_log(EXPORT, COPY)

        assert sales.head_position() == 0
    assert not Path("copy.db").exists()


def test_an_unfinished_import_that_somebody_uses_is_left_alone(sqlite_store):
    fill_much(sqlite_store)
    export_log(sqlite_store, EXPORT)
    run_interrupted("import", 1, EXPORT, COPY)
    with open_store("sqlite:///copy.db.partial") as used:
        head = used.head_position()
        used.save_checkpoint("relay", position=1, event_id="e")

        with pytest.raises(
            ProjectError, check=coded("TARGET_EXISTS"), match="not an unfinished import"
        ):
            import_log(EXPORT, COPY)

        assert used.head_position() == head


def test_a_full_disk_during_an_export_is_named_and_it_goes_on_later(sqlite_store):
    fill_much(sqlite_store)
    code = (
        "import sys; from pathlib import Path; from eskit import open_store\n"
        "from eskit.errors import StoreUnavailable\n"
        "from eskit.operations.exporting import export_log\n"
        "with open_store(sys.argv[1]) as store:\n"
        "    try: export_log(store, Path(sys.argv[2]))\n"
        "    except StoreUnavailable as error: sys.exit(error.message)\n"
    )

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    failed = subprocess.run(
        [sys.executable, "-c", code, URL, EXPORT],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = export_log(sqlite_store, EXPORT)

    assert failed.returncode == 1
    assert "log.jsonl.partial cannot be written: File too large" in failed.stderr
    assert report.events == 5_000
    assert report.resumed_after > 0


def test_backup_of_a_memory_store_points_to_the_export():
    with open_store("memory://") as store, pytest.raises(InvalidArgument) as refused:
        back_up(store, Path("b.db"), progress=print)

    assert "store export" in refused.value.hint
