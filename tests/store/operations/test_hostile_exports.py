"""Exports that somebody has altered and sealed again: refused by the line, or as good as any."""

from __future__ import annotations

import hashlib
import json
import os
import random
from itertools import count
from pathlib import Path

import pytest

from eskit import ANY, Command, Metadata, NewEvent, claim, open_store
from eskit.errors import InvalidArgument
from eskit.operations.erasing import erase
from eskit.operations.export_format import ExportInvalid
from eskit.operations.exporting import export_log
from eskit.operations.importing import import_log
from eskit.operations.verifying import verify
from eskit.testing.store_contract import text, texts

EXPORT = Path("log.jsonl")
GIVEN = "0b5c2f0e-63a5-4d3c-9b40-6a3e6a1c9f10"
DEEP = json.loads("[" * 200 + "]" * 200)
HOSTILE = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    10**20,
    2**63,
    0.5,
    float("nan"),
    "",
    "x",
    "a\nb",
    "a/b",
    "bank.Account-1",
    "Account-",
    "Account-" + "x" * 300,
    "A" * 300 + "-1",
    "\ud800",
    "\x00",
    GIVEN,
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "AAAA",
    "!",
    "google.protobuf.Int64Value",
    [],
    [["claim", "name", "z"]],
    [["claim", 5, "z"]],
    [["steal", "name", "z"]],
    ["claim"],
    DEEP,
    {},
    {"traceparent": 5},
    {"custom": {"a": 5}},
    {"custom": "x"},
    {"erased": True},
    {"principal_id": None},
    {"principal_id": "x" * 20_000},
]
MISSING = object()
urls = count()


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A line of every kind, and two events."""
    folder = tmp_path_factory.mktemp("export")
    here = Path.cwd()
    os.chdir(folder)
    try:
        with open_store("sqlite:///log.db") as store:
            store.append("Account-1", [text("a", claim("name", "x"))], expected_version=0)
            store.append(
                "Account-1",
                [text("b", metadata=Metadata(principal_id="ann", custom={"k": "v"}))],
                expected_version=1,
                command=Command(id="c1", fingerprint="Open", response=b"ok"),
            )
            store.for_tenant("acme").append("Account-2", texts("gone"), expected_version=0)
            erase(store.for_tenant("acme"), ["Account-2"], reason="asked", erased_by="dpo")
            store.append(
                "Account-3", [NewEvent(text("c").message, event_id=GIVEN)], expected_version=0
            )
            export_log(store, EXPORT)
        return [json.loads(line) for line in EXPORT.read_bytes().splitlines()]
    finally:
        os.chdir(here)


def sealed(lines):
    """The lines as a file, with the right checksum at its end."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    footer = {**lines[-1]}
    if footer.get("sha256") == lines[-1].get("sha256"):
        footer["sha256"] = hashlib.sha256(body).hexdigest()
    EXPORT.write_bytes(body + json.dumps(footer).encode() + b"\n")


def check_import(url):
    """Either a named error with its line, or a store that is as whole as any."""
    try:
        import_log(EXPORT, url)
    except ExportInvalid as error:
        return error.message
    with open_store(url) as store:
        found = verify(store)
        store.append("Account-1", texts("later"), expected_version=ANY)
        # A type without a schema is no damage: stores did not always keep them.
        assert {finding.code for finding in found.findings} <= {"UNKNOWN_EVENT_TYPE"}
    return ""


def alterations(lines):
    for number, line in enumerate(lines):
        for key in line:
            yield from ((number, key, value) for value in (*HOSTILE, MISSING))


def altered(lines, number, key, value):
    changed = [dict(line) for line in lines]
    if value is MISSING:
        del changed[number][key]
    else:
        changed[number][key] = value
    return changed


@pytest.mark.parametrize("part", range(8))
@pytest.mark.promise("bad-exports-are-refused")
def test_an_altered_export_is_refused_by_the_line_or_as_good_as_any(lines, part):
    """Every value of every line in turn; memory takes what a file would, and is quicker."""
    told = []
    for number, key, value in list(alterations(lines))[part::8]:
        sealed(altered(lines, number, key, value))
        url = f"memory://hostile-{os.getpid()}-{next(urls)}"
        open_store(url).close()
        told.append(check_import(url))

    assert "" in told
    assert sum("Line " in message for message in told) > 0.8 * len([m for m in told if m])


@pytest.mark.parametrize("seed", range(4))
def test_a_file_takes_of_an_altered_export_what_memory_takes(lines, seed):
    chosen = random.Random(seed).sample(list(alterations(lines)), 40)

    for number, key, value in chosen:
        sealed(altered(lines, number, key, value))

        check_import(f"sqlite:///copy-{next(urls)}.db")


@pytest.mark.parametrize("seed", range(6))
def test_lines_in_another_order_are_refused_or_as_good_as_any(lines, seed):
    mixed = random.Random(seed)
    for _ in range(20):
        changed = [dict(line) for line in lines[1:-1]]
        first = mixed.randrange(len(changed))
        if mixed.random() < 0.5:
            changed.insert(mixed.randrange(len(changed)), changed[first])
        else:
            changed.insert(mixed.randrange(len(changed)), changed.pop(first))
        events = sum(line["kind"] == "event" for line in changed)
        commands = sum(line["kind"] == "command" for line in changed)
        erasures = sum(line["kind"] == "erasure" for line in changed)
        footer = {**lines[-1], "events": events, "commands": commands, "erasures": erasures}
        sealed([lines[0], *changed, footer])

        check_import(f"sqlite:///copy-{next(urls)}.db")


def test_a_payload_that_could_never_be_read_is_named(lines):
    changed = altered(lines, 0, "kind", "header")
    first = next(n for n, line in enumerate(lines) if line["kind"] == "event")
    changed[first]["data_base64"] = "/w=="
    sealed(changed)

    message = check_import("sqlite:///copy.db")

    assert f"Line {first + 1} " in message
    assert "does not parse as google.protobuf.StringValue" in message


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "."])
def test_what_has_no_end_is_not_read(device):
    with pytest.raises(InvalidArgument, match="no regular file"):
        import_log(Path(device), "sqlite:///copy.db")
    assert not Path("copy.db").exists()


def test_a_pipe_is_not_waited_for():
    os.mkfifo("pipe")

    with pytest.raises(InvalidArgument, match="no regular file"):
        import_log(Path("pipe"), "sqlite:///copy.db")
