"""From an empty folder to a service of one's own, command by command."""

from __future__ import annotations

import json

from tests.support.running import eskit, interrupt, read_until

PROTO = """
syntax = "proto3";

package note.v1;

import "eventsourcing/options.proto";

service NoteCommandService {
  option (eventsourcing.service) = {
    aggregate_name: "Note"
    aggregate_root_message: "note.v1.Note"
  };
  // Writes a note, or writes it anew.
  rpc WriteNote(WriteNoteCommand) returns (WriteNoteResponse);
}

message Note {
  option (eventsourcing.aggregate_root) = {id_field: "note_id" type_name: "Note"};
  string note_id = 1;
  string text = 2;
  int64 edits = 3;
}

message NoteWrittenEvent {
  option (eventsourcing.event) = {aggregate_name: "Note"};
  string note_id = 1;
  string text = 2;
}

message WriteNoteCommand {
  string note_id = 1;
  string text = 2;
}

message WriteNoteResponse {
  int64 version = 1;
}
"""

RULES = '''
"""The rules of Note."""

from eskit.errors import CommandRejected

from shop.gen.note.v1 import note_es as es
from shop.gen.note.v1 import note_pb2 as pb


class Note(es.NoteAggregate):
    """The rules of one Note."""

    def write_note(self, command: pb.WriteNoteCommand) -> pb.WriteNoteResponse:
        """Write the note."""
        if not command.text:
            raise CommandRejected("NO_TEXT", "A note has a text.", solution="Set text.")
        self.emit(pb.NoteWrittenEvent(note_id=self.id, text=command.text))
        return pb.WriteNoteResponse(version=self.version)

    def on_note_written(self, event: pb.NoteWrittenEvent) -> None:
        """Keep the text."""
        self.state.note_id = event.note_id
        self.state.text = event.text
        self.state.edits += 1
'''

APP = '''
"""The parts of the service."""

from eskit import App, EventContext, Projection
from shop.domain.note import Note
from shop.gen.note.v1 import note_pb2 as pb

texts = Projection("note-text", migrations="migrations")


@texts.on(pb.NoteWrittenEvent)
def written(event: pb.NoteWrittenEvent, context: EventContext) -> None:
    """Keep the latest text."""
    context.db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (event.note_id, event.text))


app = App("shop", aggregates=[Note], projections=[texts])
'''

WRITE = "note.v1.NoteCommandService/WriteNote"


def test_a_service_from_an_empty_folder(launch, tmp_path):
    def run(*args, code=0):
        ran = eskit(*args, cwd=shop)
        assert ran.code == code, ran.err
        return ran

    shop = tmp_path
    run("new", "project", "shop")
    shop = tmp_path / "shop"
    (shop / "proto" / "note" / "v1").mkdir(parents=True)
    (shop / "proto" / "note" / "v1" / "note.proto").write_text(PROTO)

    planned = run("new", "aggregate", "proto/note/v1/note.proto", "--dry-run", "--json")
    assert not (shop / "shop" / "domain" / "note.py").exists()
    created = run("new", "aggregate", "proto/note/v1/note.proto", "--json")
    assert planned.json["data"]["files"] == created.json["data"]["files"]
    assert "shop/domain/note.py" in created.json["data"]["files"]
    again = run("new", "aggregate", "proto/note/v1/note.proto", "--json")
    assert again.json["data"]["files"] == []

    run("gen")
    (shop / "shop" / "domain" / "note.py").write_text(RULES)
    (shop / "shop" / "app.py").write_text(APP)
    (shop / "shop" / "migrations").mkdir()
    (shop / "shop" / "migrations" / "001_note.sql").write_text(
        "CREATE TABLE note (note_id TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;"
    )

    schema = run("schema", "list", "--json").json["data"]
    assert schema[0]["methods"] == [{"kind": "command", "method": WRITE}]
    run("call", WRITE, "--data", '{"note_id":"n-1","text":"first"}')
    run("call", WRITE, "--data", '{"note_id":"n-1","text":"second"}')
    run("call", WRITE, "--data", '{"note_id":"n-1"}', code=1)
    events = run("stream", "read", "Note-n-1", "--json").records
    assert [event["data"]["text"] for event in events] == ["first", "second"]
    replayed = run("replay", "Note-n-1")
    assert 'text     "first" → "second"' in replayed.out
    assert "edits    1 → 2" in replayed.out
    assert run("project", "status", "--json").json["data"][0]["lag"] == 2
    rebuilt = run("project", "rebuild", "note-text", "--json").json["data"]
    assert (rebuilt[0]["events"], rebuilt[0]["position"]) == (2, 2)
    assert run("checkpoint", "list", "--json").json["data"][0]["position"] == 2
    assert run("store", "info", "--json").json["data"]["events"] == 2

    tail = launch("tail", "--json", cwd=shop)
    line = json.loads(read_until(tail, "second")[-1])
    assert line["stream"] == "Note-n-1"
    assert interrupt(tail).code == 0
