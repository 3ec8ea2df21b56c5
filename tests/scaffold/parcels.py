"""A project about parcels: an app that is yet to be written, and protos in two files."""

from __future__ import annotations

from pathlib import Path

from eskit.project.layout import Project, load_project

PARCEL = """
syntax = "proto3";
package parcel.v1;
import "eventsourcing/options.proto";
import "google/protobuf/empty.proto";
import "parcel/v1/events.proto";

service ParcelCommandService {
  option (eventsourcing.service) = {aggregate_name: "Parcel"};
  // Sends a parcel. It gets a new id.
  rpc SendParcel(SendParcelCommand) returns (ParcelReply);
  rpc DeliverParcelToNeighbourWhenNobodyAnswers(DeliverParcelToNeighbourWhenNobodyAnswersCommand)
      returns (ParcelReply);
  rpc LoseParcel(LoseParcelCommand) returns (google.protobuf.Empty);
}

// Where a parcel is.
message Parcel {
  option (eventsourcing.aggregate_root) = {id_field: "parcel_id"};
  string parcel_id = 1;
}
message SendParcelCommand { string weight = 1; }
message DeliverParcelToNeighbourWhenNobodyAnswersCommand { string parcel_id = 1; }
message LoseParcelCommand { string parcel_id = 1; }
message ParcelReply { string parcel_id = 1; }
"""

EVENTS = """
syntax = "proto3";
package parcel.v1;
import "eventsourcing/options.proto";

message ParcelSentEvent {
  option (eventsourcing.event) = {aggregate_name: "Parcel"};
  string parcel_id = 1;
}
message ParcelSentEventV1 {
  option deprecated = true;
  option (eventsourcing.event) = {aggregate_name: "Parcel"};
}
"""


def create_parcels(root: Path) -> Project:
    """Write the project's settings and protos into `root`."""
    folder = root / "proto" / "parcel" / "v1"
    folder.mkdir(parents=True)
    (root / "eskit.toml").write_text('app = "post.app:app"\n')
    (folder / "parcel.proto").write_text(PARCEL)
    (folder / "events.proto").write_text(EVENTS)
    return load_project(root)
