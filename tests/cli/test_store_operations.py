"""The operations on a store from the command line."""

import json
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eskit import ANY, Command, NewEvent, claim, open_store
from eskit.schema.response_pb2 import AppError
from tests.store.operations.damaging import seal
from tests.support.running import configure

FILE = Path("events.db")


@pytest.fixture(autouse=True)
def _claimed(store_url):
    with open_store(store_url) as store:
        event = NewEvent(AppError(code="THREE"), claims=(claim("code", "three"),))
        store.append("Thing-b2", [event], expected_version=ANY)


@pytest.fixture
def run(cli, store_url):
    def run_on_store(*args):
        return cli(*args, "--store", store_url)

    return run_on_store


def execute(statement):
    connection = sqlite3.connect(FILE)
    with connection:
        connection.execute(statement)
    connection.close()


# --- verify ---


def test_a_whole_store_is_verified(run):
    ran, shown = run("store", "verify", "--json"), run("store", "verify")

    assert (ran.code, ran.json["status"]) == (0, "ok")
    assert ran.json["data"]["verdict"] == "ok"
    assert ran.json["data"]["findings"] == []
    assert shown.out.startswith("log          3 events in 2 streams\n")
    assert shown.out.splitlines()[-1].startswith("ok in ")


def test_a_damaged_store_exits_with_3_and_names_the_place(run):
    execute("UPDATE events SET data = x'ff' WHERE global_position = 2")

    ran, shown = run("store", "verify", "--json"), run("store", "verify")

    assert (ran.code, ran.json["status"], shown.code) == (3, "failed", 3)
    assert ran.json["data"]["verdict"] == "damaged"
    findings = ran.json["data"]["findings"]
    assert [finding["code"] for finding in findings] == ["PAYLOAD_DAMAGED", "EVENT_CHANGED"]
    assert {finding["position"] for finding in findings} == {2}
    assert {(finding["severity"], finding["stream"]) for finding in findings} == {
        ("error", "Thing-a1")
    }
    assert "at 2  Thing-a1" in shown.out
    assert shown.out.splitlines()[-1].startswith("damaged in ")


def test_a_store_that_cannot_be_judged_exits_with_1(run):
    execute("UPDATE kinds SET event_type = 'gone.v1.Event'")
    seal(FILE)

    ran, shown = run("store", "verify", "--json"), run("store", "verify")

    assert (ran.code, ran.json["status"], shown.code) == (1, "error", 1)
    assert ran.json["data"]["verdict"] == "unknown"
    assert ran.json["error"]["code"] == "VERDICT_UNKNOWN"
    assert (
        "Nothing here defines the event type gone.v1.Event: 3 payloads were not decoded"
        in shown.out
    )


def test_a_store_too_damaged_to_open_is_damaged(run):
    FILE.write_bytes(FILE.read_bytes()[:8192])

    ran = run("store", "verify", "--json")

    assert ran.code == 3
    assert ran.json["data"]["verdict"] == "damaged"


def test_a_flipped_bit_in_the_schema_of_the_file_is_a_verdict(run):
    raw = FILE.read_bytes()
    FILE.write_bytes(raw.replace(b"CREATE TABLE checkpoints", b"CREATE TA\xc2LE checkpoints"))

    ran, read = run("store", "verify", "--json"), run("stream", "list", "--json")

    assert (ran.code, ran.json["data"]["verdict"]) == (3, "damaged")
    assert (read.code, read.json["error"]["code"]) == (1, "STORE_DAMAGED")


def test_what_is_no_store_is_no_verdict(run):
    FILE.write_text("hello " * 1000)

    ran = run("store", "verify", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "STORE_NOT_RECOGNISED"


# --- export and import ---


def test_a_log_goes_out_and_comes_back(cli, run, store_url):
    exported = run("store", "export", "log.jsonl", "--json")
    imported = cli("store", "import", "log.jsonl", "--store", "sqlite:///copy.db", "--json")
    listed = cli("stream", "list", "--store", "sqlite:///copy.db", "--json")

    assert (exported.code, imported.code) == (0, 0)
    assert exported.json["data"]["events"] == imported.json["data"]["events"] == 3
    assert exported.json["data"]["path"] == "log.jsonl"
    assert imported.json["data"]["store_id"] != imported.json["data"]["origin"]
    assert [s["stream"] for s in listed.json["data"]] == ["Thing-a1", "Thing-b2"]
    assert '{"progress": {"name": "export"' in exported.err


def test_one_stream_can_be_exported(run):
    ran = run("store", "export", "one.jsonl", "--stream", "Thing-b2")

    assert ran.code == 0
    assert "1 event up to 3" in ran.out


def test_importing_over_a_store_is_refused(cli, run, store_url):
    run("store", "export", "log.jsonl")

    ran = cli("store", "import", "log.jsonl", "--store", store_url, "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "TARGET_EXISTS"


def test_an_altered_export_is_refused(cli, run):
    run("store", "export", "log.jsonl")
    altered = Path("log.jsonl").read_text().replace("Thing-b2", "Thing-b3")
    Path("log.jsonl").write_text(altered)

    ran = cli("store", "import", "log.jsonl", "--store", "sqlite:///copy.db", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "EXPORT_INVALID"
    assert not Path("copy.db").exists()


def test_a_tenant_needs_a_stream(run):
    assert run("store", "export", "log.jsonl", "--tenant", "acme").code == 2


# --- backup ---


def test_a_backup_is_another_store(cli, run):
    ran = run("store", "backup", "backup.db", "--json")
    again = run("store", "backup", "backup.db")
    info = cli("store", "info", "--store", "sqlite:///backup.db", "--json")

    data = ran.json["data"]
    assert (ran.code, again.code) == (0, 1)
    assert (data["events"], data["head"], data["path"]) == (3, 3, "backup.db")
    assert info.json["data"]["store_id"] == data["store_id"] != data["origin"]
    assert "nothing is overwritten" in again.err


def test_a_damaged_store_is_neither_backed_up_nor_exported(run):
    execute("UPDATE events SET data = x'' WHERE global_position = 1")

    for command in (("backup", "backup.db"), ("export", "log.jsonl")):
        ran = run("store", *command)

        assert ran.code == 1
        assert "at 1, is not what was recorded" in ran.err
        assert ran.err.endswith("store verify\n")
    assert not list(Path().glob("backup.db*")) + list(Path().glob("log.jsonl*"))


# --- claims ---


def test_claims_are_listed(run):
    ran, shown = run("claim", "list", "--json"), run("claim", "list")

    assert ran.json["data"] == [
        {"index": "code", "value": "three", "stream": "Thing-b2", "tenant": ""}
    ]
    assert shown.out == "code  three  Thing-b2\n"
    assert run("claim", "list", "--index", "other").out == "No claims\n"


def test_claims_that_differ_are_shown_and_then_put_right(run):
    execute("DELETE FROM claims")

    checked = run("claim", "rebuild", "--check", "--json")
    rebuilt = run("claim", "rebuild", "--json")
    after = run("claim", "rebuild", "--check")

    assert (checked.code, checked.json["status"]) == (3, "failed")
    assert checked.json["data"]["differences"][0]["kind"] == "missing"
    assert not checked.json["data"]["changed"]
    assert (rebuilt.code, rebuilt.json["data"]["changed"]) == (0, True)
    assert (after.code, after.out) == (0, "1 claim, as the log says\n")


def test_what_was_put_right_is_told_in_the_past(run):
    execute("DELETE FROM claims")

    checked, rebuilt = run("claim", "rebuild", "--check"), run("claim", "rebuild")

    assert "code 'three' is free; by the log it is held by Thing-b2" in checked.out
    assert checked.out.endswith("claim rebuild\n")
    assert "code 'three' was free; now it is held by Thing-b2" in rebuilt.out


def test_a_log_that_lacks_events_is_no_source_of_claims(run):
    execute("DELETE FROM events WHERE global_position = 1")
    execute("DELETE FROM claims")

    checked, rebuilt = run("claim", "rebuild", "--check"), run("claim", "rebuild")

    assert (checked.code, rebuilt.code) == (3, 1)
    assert "code 'three' is free" in checked.out
    assert "eskit claim rebuild" not in checked.out
    assert "restore the store from a backup" in checked.out
    assert "Claims cannot be rebuilt from a log that lacks events" in rebuilt.err


# --- erase ---


def test_a_stream_is_erased_only_when_that_is_confirmed(run):
    asked = run("stream", "erase", "Thing-b2", "--reason", "asked for")
    dry = run("stream", "erase", "Thing-b2", "--reason", "asked for", "--dry-run", "--json")

    assert asked.code == 2
    assert "--yes" in asked.err
    assert dry.code == 0
    assert dry.json["data"] == [{"stream": "Thing-b2", "tenant": "", "events": 1, "version": 1}]
    assert run("claim", "list", "--json").json["data"]


def test_an_erased_stream_says_so_everywhere(run):
    arguments = ("--reason", "asked for", "--by", "dpo", "--yes", "--json")

    erased = run("stream", "erase", "Thing-b2", *arguments)
    read, shown = run("stream", "read", "Thing-b2", "--json"), run("stream", "read", "Thing-b2")
    verified = run("store", "verify")

    (data,) = erased.json["data"]
    assert (erased.code, data["events"], data["erased_by"]) == (0, 1, "dpo")
    assert data["reason"] == "asked for"
    (event,) = read.records
    assert event["data_base64"] == ""
    assert event["diagnostics"][0]["code"] == "EVENT_ERASED"
    assert "erased" in shown.out
    assert "erased       1 event, by 1 recorded erasure" in verified.out
    assert run("claim", "list").out == "No claims\n"


@pytest.mark.promise("erasures-are-recorded")
def test_erased_streams_are_listed_with_who_erased_them_when_and_why(run):
    before = run("stream", "list", "--erased")
    run("stream", "erase", "Thing-b2", "--reason", "request 17", "--by", "ann", "--yes")

    listed, as_json = run("stream", "list"), run("stream", "list", "--json")
    erased, erased_json = (
        run("stream", "list", "--erased"),
        run("stream", "list", "--erased", "--json"),
    )
    none = run("stream", "list", "--erased", "--prefix", "Thing-a")

    assert before.out == "No erased streams\n"
    marks = {line.split()[0]: line.endswith("erased") for line in listed.out.splitlines()}
    assert marks == {"Thing-a1": False, "Thing-b2": True}
    by_name = {item["stream"]: item["erasures"] for item in as_json.json["data"]}
    assert by_name["Thing-a1"] == []
    (erasure,) = by_name["Thing-b2"]
    assert (erasure["erased_by"], erasure["reason"]) == ("ann", "request 17")
    assert (erasure["events"], erasure["version"]) == (1, 1)
    assert erasure["erased_at"].endswith("Z")
    assert re.search(
        r"^Thing-b2  1 event\n  1 event erased, up to version 1  .*  by ann: request 17$",
        erased.out,
    )
    assert [item["stream"] for item in erased_json.json["data"]] == ["Thing-b2"]
    assert none.out == "No erased streams\n"


def test_a_stream_that_was_written_to_again_says_up_to_where_it_was_erased(run, store_url):
    run("stream", "erase", "Thing-b2", "--reason", "asked", "--yes")
    with open_store(store_url) as store:
        store.append("Thing-b2", [NewEvent(AppError(code="NEW"))], expected_version=1)

    assert run("stream", "list", "--prefix", "Thing-b").out.endswith("erased up to version 1\n")


def test_erasing_an_unknown_stream_names_the_nearest(run):
    ran = run("stream", "erase", "Thing-b3", "--reason", "asked", "--yes", "--json")

    assert ran.code == 1
    assert ran.json["error"]["code"] == "STREAM_NOT_FOUND"
    assert "Thing-b2" in ran.json["error"]["hint"]


# --- prune ---


def test_old_commands_are_pruned_and_the_moment_is_named(run, store_url):
    with open_store(store_url) as store:
        for days in range(9):
            command = Command(id=f"c{days}", fingerprint="Open")
            store.append("Thing-a1", [], expected_version=ANY, command=command)
    execute("UPDATE commands SET recorded_at = recorded_at - substr(command_id, 2) * 86400000000")

    dry, dry_text = run("store", "prune", "--dry-run", "--json"), run("store", "prune", "--dry-run")
    done, done_text = run("store", "prune", "--json"), run("store", "prune")

    assert (dry.json["data"]["commands"], dry.json["data"]["dry_run"]) == (2, True)
    assert (done.json["data"]["commands"], done.json["data"]["dry_run"]) == (2, False)
    cut_off = datetime.now(UTC) - datetime.fromisoformat(done.json["data"]["before"])
    assert timedelta(days=7) < cut_off < timedelta(days=8)
    assert dry_text.out.startswith("2 commands would be forgotten, recorded before 20")
    assert done_text.out.startswith("0 commands forgotten: none is old enough")


def test_every_line_of_an_export_is_json(run):
    run("store", "export", "log.jsonl")

    kinds = [json.loads(line)["kind"] for line in Path("log.jsonl").read_text().splitlines()]

    assert kinds == ["header", "schema", "event", "event", "event", "footer"]


@pytest.mark.parametrize("command", ["export", "backup"])
def test_a_folder_is_no_file_to_write_to(cli, store_url, tmp_path, command):
    for folder in (".", "/", str(tmp_path)):
        ran = cli("store", command, folder, "--store", store_url, "--json")

        assert ran.code == 1
        assert ran.json["error"]["code"] == "TARGET_EXISTS"
        assert ran.json["error"]["message"] == f"{folder} is a folder"


@pytest.mark.parametrize("command", ["export", "import", "backup"])
def test_a_dash_is_no_file(cli, store_url, tmp_path, command):
    ran = cli("store", command, "-", "--store", store_url)

    assert ran.code == 2
    assert ran.err.startswith("error  FILE: Name a file")
    assert not Path("-").exists()


def test_a_file_that_never_was_an_export_is_said_to_be_none(cli, tmp_path):
    texts = {"notes.md": b"# Notes\nof something\n", "photo.png": b"\x89PNG\xff\n", "empty": b""}
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)

        ran = cli("store", "import", str(tmp_path / name), "--store", "sqlite:///new.db", "--json")

        assert ran.code == 1
        assert ran.json["error"] == {
            "code": "EXPORT_INVALID",
            "message": f"{tmp_path / name}: This is not an export of an event store",
            "hint": "Import a file that store export has written.",
        }


def test_a_line_that_is_none_of_an_export_is_named_with_its_file(cli, store_url, tmp_path):
    file = tmp_path / "bank.jsonl"
    assert cli("store", "export", str(file), "--store", store_url).code == 0
    first, *_ = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"{nonsense}\n")

    ran = cli("store", "import", str(file), "--store", "sqlite:///new.db")

    assert ran.err == (
        f"error  {file}: Line 2 is not a line of an export\n"
        "       Export the log again with store export, from the store that it is of.\n"
    )


# --- restore, and who may read ---


def test_a_restored_store_says_what_to_do_next(bank, cli, monkeypatch):
    monkeypatch.chdir(bank)
    assert cli("store", "backup", "monday.db").code == 0

    planned = cli("store", "restore", "monday.db", "--dry-run", "--json")
    unasked = cli("store", "restore", "monday.db")
    shown = cli("store", "restore", "monday.db", "--yes")
    again = cli("store", "restore", "monday.db", "--yes", "--json")

    assert (planned.json["data"]["changed"], planned.json["data"]["events"]) == (False, 4)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert "restored from monday.db" in shown.out
    assert "bank.db.replaced" in shown.out
    assert "Next: eskit checkpoint repair" in shown.out
    data = again.json["data"]
    assert (data["changed"], data["replaced"]["events"]) == (True, 4)
    assert data["replaced"]["path"].endswith("bank.db.replaced-2")


def test_info_warns_of_files_that_others_can_read(bank, cli, monkeypatch):
    monkeypatch.chdir(bank)
    quiet = cli("store", "info")
    Path("bank.db").chmod(0o644)

    shown = cli("store", "info")
    as_json = cli("store", "info", "--json")
    configure(bank, file_mode="0644")
    meant = cli("store", "info")

    assert (quiet.code, quiet.err) == (0, "")
    assert (shown.code, "bank.db can be read by others: its mode is 0644" in shown.err) == (0, True)
    assert f"chmod 600 {bank / 'bank.db'}" in shown.err
    assert [d["code"] for d in as_json.json["diagnostics"]] == ["READABLE_BY_OTHERS"]
    assert (meant.code, meant.err) == (0, "")


def test_a_project_says_who_may_read_its_files(bank, cli, monkeypatch):
    monkeypatch.chdir(bank)
    configure(bank, file_mode="0640")
    Path("bank.db").unlink()

    for command in (
        ("store", "init"),
        ("store", "backup", "backup.db"),
        ("store", "export", "bank.jsonl"),
        ("store", "import", "bank.jsonl", "--store", "sqlite:///copy.db"),
    ):
        assert cli(*command).code == 0

    for name in ("bank.db", "backup.db", "bank.jsonl", "copy.db"):
        assert f"{Path(name).stat().st_mode & 0o777:o}" == "640"


def test_a_file_mode_that_is_none_is_refused(bank, cli, monkeypatch):
    monkeypatch.chdir(bank)
    configure(bank, file_mode=0o640)

    ran = cli("store", "info")

    assert ran.code == 1
    assert "file_mode = 416 cannot be used" in ran.err
    assert 'file_mode = "0640"' in ran.err
