"""Proto shapes that generated code must cope with; each is a project of its own."""

from __future__ import annotations

from tests.codegen.trees import proto

KINDS = """\
syntax = "proto3";
package kinds.v1;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

// Every kind of field.
message Kinds {
  enum Colour {
    COLOUR_UNSPECIFIED = 0;
    // Like "fire" \\ blood.
    COLOUR_RED = 1;
  }
  message Inner {
    string text = 1;
    message Innermost { int32 number = 1; }
    Innermost innermost = 2;
  }
  double a_double = 1;
  float a_float = 2;
  int32 an_int32 = 3;
  uint64 a_uint64 = 4;
  sint32 a_sint32 = 5;
  fixed64 a_fixed64 = 6;
  bool a_bool = 7;
  string a_string = 8;
  bytes some_bytes = 9;
  Colour colour = 10;
  Inner inner = 11;
  Inner.Innermost innermost = 12;
  optional string maybe = 13;
  repeated int64 numbers = 14;
  repeated Inner inners = 15;
  repeated Colour colours = 16;
  map<string, int32> counts = 17;
  map<int32, Inner> by_number = 18;
  map<string, Colour> by_name = 19;
  oneof choice {
    string word = 20;
    Inner thing = 21;
  }
  oneof other { bool yes = 22; bool no = 23; }
  google.protobuf.Timestamp at = 24;
  google.protobuf.Duration lasts = 25;
  google.protobuf.Struct json = 26;
  google.protobuf.Any any = 27;
  google.protobuf.StringValue wrapped = 28;
  google.protobuf.NullValue null = 29;
  google.protobuf.ListValue list = 30;
  repeated google.protobuf.Timestamp times = 31;
}
"""

NAMES = """\
syntax = "proto3";
package names.v1;

message Names {
  string from = 1;
  int32 class = 2;
  string self = 3;
  repeated string list = 4;
  int64 int = 5;
  bytes str = 6;
  bool property = 7;
  float type = 8;
  Names Names = 9;
  None None = 10;
  string field_name = 11;
  string cls = 12;
}
message None { string text = 1; }
message list { list list = 1; Holder.import import = 2; }
message Holder {
  message import { string x = 1; }
  enum print { False = 0; RED = 1; }
  print format = 1;
}
enum Words { WORDS_UNSPECIFIED = 0; True = 1; def = 2; }
message Uses { Words words = 1; Holder.print print = 2; }
// Fields called like what every message has, and like what stubs import.
message Hidden {
  string DESCRIPTOR = 1;
  bool HasField = 2;
  repeated int32 ListFields = 3;
  Hidden SerializeToString = 4;
  string Extensions = 5;
  string _t = 6;
  string _b = 7;
  string __class__ = 8;
  string text = 9;
  string _self = 10;
  string _fields = 11;
}
message Values {
  enum Kind { items = 0; Value = 1; DESCRIPTOR = 2; HasField = 3; ValueType = 4; }
  Kind kind = 1;
}
enum Action { Clear = 0; }
message Shadow {
  enum Kind { KIND_UNSPECIFIED = 0; }
  Kind Shadow = 1;
  optional Shadow next = 2;
}
"""

PROTO2 = """\
syntax = "proto2";
package proto2.v1;
import "google/protobuf/descriptor.proto";

message Old {
  required string name = 1;
  optional int32 age = 2 [default = 7];
  repeated group Part = 3 { optional string label = 4; }
  oneof pick { group Picked = 5 { optional int32 x = 6; } string word = 7; }
  optional bytes raw = 8 [default = "\\xff'\\n"];
  extensions 100 to 199;
}
extend Old { optional string nickname = 100; repeated int32 scores = 101; }
extend google.protobuf.FieldOptions { optional string column = 51234; }
message Scope { extend Old { optional Scope scope = 102; } }
"""

OPTIONS = {
    "acme/options.proto": """\
syntax = "proto3";
package acme;
import "google/protobuf/descriptor.proto";
extend google.protobuf.EnumValueOptions { repeated string aliases = 51235; }
""",
    "marked.proto": """\
syntax = "proto3";
package acme.marked;
import "acme/options.proto";
message Marked {
  reserved 2, 5 to max;
  reserved "old";
  enum Level {
    option allow_alias = true;
    LEVEL_UNSPECIFIED = 0;
    LEVEL_HIGH = 1 [(acme.aliases) = "top", deprecated = true];
    LEVEL_TOP = 1;
    LEVEL_BELOW = -1;
  }
  Level level = 1 [deprecated = true, json_name = "Level!"];
  map<bool, Level> levels = 3;
}
""",
}

EDITIONS = """\
edition = "2023";
package editions.v1;
import "eventsourcing/options.proto";
option features.field_presence = IMPLICIT;
message Dated {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
  int32 maybe = 2 [features.field_presence = EXPLICIT];
  Closed closed = 3 [features.field_presence = EXPLICIT];
  repeated int32 expanded = 4 [features.repeated_field_encoding = EXPANDED];
  Part part = 5 [features.message_encoding = DELIMITED];
  string needed = 6 [features.field_presence = LEGACY_REQUIRED];
  message Part { string text = 1; }
}
enum Closed { option features.enum_type = CLOSED; CLOSED_ONE = 1; }
message Moved {
  option (eventsourcing.event) = {aggregate_name: "Dated"};
  Closed closed = 1 [features.field_presence = EXPLICIT];
  Dated.Part part = 2;
}
service DatedService { rpc Move(Dated) returns (Dated); }
"""

TWO_AGGREGATES = proto(
    "two.v1",
    """
message Order {
  option (eventsourcing.aggregate_root) = {id_field: "order_id"};
  string order_id = 1;
}
message Basket {
  option (eventsourcing.aggregate_root) = {id_field: "basket_id" type_name: "Cart"};
  string basket_id = 1;
}
message OrderPlaced {
  option (eventsourcing.event) = {aggregate_name: "Order"};
  string order_id = 1;
}
message IBANChangedEvent { option (eventsourcing.event) = {aggregate_name: "Order"}; }
message CartFilledEvent { option (eventsourcing.event) = {aggregate_name: "Cart"}; }
service OrderCommandService { rpc Place(PlaceCommand) returns (Done); }
service CartCommandService {
  rpc Fill(FillCommand) returns (Done);
  rpc ID(FillCommand) returns (Done);
}
service CartMaintenance {
  option (eventsourcing.service) = {aggregate_root_message: ".two.v1.Basket"};
  rpc Empty(FillCommand) returns (Done);
}
message PlaceCommand { string text = 1; }
message FillCommand { string basket_id = 1; }
message Done {}
""",
)

KEYWORDS = proto(
    "keywords.v1",
    """
message class {
  option (eventsourcing.aggregate_root) = {id_field: "from"};
  string from = 1;
  enum lambda { LAMBDA_UNSPECIFIED = 0; }
  lambda lambda_kind = 2;
}
message None { option (eventsourcing.event) = {aggregate_name: "class"}; string from = 1; }
message _ { option (eventsourcing.event) = {aggregate_name: "class"}; }
message def { message def { def again = 1; } lambda kind = 1; enum lambda { ZERO = 0; } }
message Outer {
  message import {
    option (eventsourcing.event) = {aggregate_name: "class"};
    message def { string x = 1; }
    def inner = 1;
  }
}
service classCommandService {
  rpc pass(yield) returns (Outer.import);
}
service classQueryService {
  rpc await(yield) returns (class);
}
message yield { string from = 1; }
""",
)

NO_EVENTS = proto(
    "noevents.v1",
    """
message Quiet {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
}
""",
)

OTHER_PACKAGE = {
    "state/v1/state.proto": proto(
        "spread.state.v1",
        """
message Spread {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
}
""",
    ),
    "facts/v1/state.proto": proto(
        "spread.facts.v1",
        """
message Spreading { option (eventsourcing.event) = {aggregate_name: "Spread"}; }
""",
    ),
    "service.proto": proto(
        "spread.v1",
        """
import "google/protobuf/empty.proto";
service SpreadCommandService {
  rpc Butter(google.protobuf.Empty) returns (google.protobuf.Empty);
}
""",
    ),
}

NO_AGGREGATE = proto(
    "reports.v1",
    """
service ReportCommandService { rpc Import(Request) returns (Answer); }
service ReportQueryService { rpc Lambda(Request) returns (Answer); }
service Lookup {
  rpc Find(Request) returns (Answer) { option idempotency_level = NO_SIDE_EFFECTS; }
}
service QueryService { rpc Ask(Request) returns (Answer); }
service TypeChecking { rpc Check(Request) returns (Answer); }
service Empty {}
message Request { string id = 1; }
message Answer { string id = 1; }
""",
)

CROSSWISE = {
    "a.proto": proto(
        "crosswise.a",
        """
message A { option (eventsourcing.aggregate_root) = {id_field: "id"}; string id = 1; }
service BCommandService { rpc DoB(Do) returns (Do); }
message Do { string id = 1; }
""",
    ),
    "b.proto": proto(
        "crosswise.b",
        """
message B { option (eventsourcing.aggregate_root) = {id_field: "id"}; string id = 1; }
service ACommandService { rpc DoA(Do) returns (Do); }
message Do { string id = 1; }
""",
    ),
}

PATHS = {
    "class/x-y.z.proto": 'syntax = "proto3";\npackage paths.a;\nmessage A {}\n',
    "json/types.proto": 'syntax = "proto3";\npackage paths.b;\nmessage B {}\n',
    "2024/types.proto": 'syntax = "proto3";\npackage paths.c;\nmessage C {}\n',
    "été/ça va.proto": 'syntax = "proto3";\npackage paths.d;\nmessage D {}\n',
    "all.proto": """\
syntax = "proto3";
package paths;
import public "class/x-y.z.proto";
import public "json/types.proto";
import "2024/types.proto";
import "été/ça va.proto";
message All { a.A a = 1; b.B b = 2; c.C c = 3; d.D d = 4; }
message B {}
""",
    "user.proto": """\
syntax = "proto3";
package paths;
import "all.proto";
message User { All all = 1; a.A a = 2; }
""",
}

DOCS = proto(
    "docs.v1",
    '''
// Has """quotes""", a \\ and a line that is longer than formatters would like it to be: it wraps.
//
// A second paragraph
//   with an indent "at its end"
message Doc {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;  // Behind it.
}
// "Quoted"
message Documented { option (eventsourcing.event) = {aggregate_name: "Doc"}; }
// {{ not a template }} {% at all %}
service AnotherServiceWhoseNameIsAsLongAsNamesAreQueryService {
  rpc Ask(Documented) returns (Documented);
}
service ServiceWhoseNameIsAsLongAsNamesEverAreCommandService {
  option (eventsourcing.service) = {aggregate_name: "Doc"};
  rpc RpcWhoseNameIsLongerThanItHasToBeForWhatItDoes(Documented) returns (Documented);
  // Ends with """three"""
  rpc EndsWithQuotes(Documented) returns (Documented);
  // Ends with \\
  rpc EndsWithBackslash(Documented) returns (Documented);
}
''',
)

SHAPES: dict[str, dict[str, str]] = {
    "kinds": {"kinds/v1/kinds.proto": KINDS},
    "names": {"names/v1/names.proto": NAMES},
    "options": OPTIONS,
    "editions": {"editions/v1/dated.proto": EDITIONS},
    "proto2": {"proto2/v1/old.proto": PROTO2},
    "two_aggregates": {"two/v1/two.proto": TWO_AGGREGATES},
    "keywords": {"keywords/v1/keywords.proto": KEYWORDS},
    "no_events": {"noevents/v1/quiet.proto": NO_EVENTS},
    "other_package": {f"spread/{name}": text for name, text in OTHER_PACKAGE.items()},
    "no_aggregate": {"reports/v1/reports.proto": NO_AGGREGATE},
    "crosswise": {f"crosswise/{name}": text for name, text in CROSSWISE.items()},
    "paths": PATHS,
    "docs": {"docs/v1/docs.proto": DOCS},
}
