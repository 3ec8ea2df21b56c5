"""Proto shapes that generated code must cope with; each is a project of its own."""

from __future__ import annotations

from tests.support.trees import proto

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

VERSIONS = {
    "acct/v1/acct.proto": proto(
        "acct.v1",
        """
// An old version: what is stored is read, what is sent by old clients is answered.
message MadeEvent {
  option (eventsourcing.event) = {aggregate_name: "Account"};
  option deprecated = true;
  string id = 1;
}
message Renamed {
  option (eventsourcing.event) = {aggregate_name: "Account"};
}
message RenamedEvent {
  option (eventsourcing.event) = {aggregate_name: "Account"};
  option deprecated = true;
}
message Make { string id = 1; }
message Made {}
service AccountCommandService {
  option deprecated = true;
  rpc Make(acct.v1.Make) returns (Made);
}
service AccountQueryService {
  rpc Get(acct.v1.Make) returns (Made) { option deprecated = true; }
}
service ReportQueryService { option deprecated = true; rpc Read(acct.v1.Make) returns (Made); }
service AuditQueryService { rpc Read(acct.v1.Make) returns (Made); }
""",
    ),
    "acct/v2/acct.proto": proto(
        "acct.v2",
        """
message Account {
  option (eventsourcing.aggregate_root) = {id_field: "id"};
  string id = 1;
}
message MadeEvent {
  option (eventsourcing.event) = {aggregate_name: "Account"};
  string id = 1;
}
message Make { string id = 1; }
message Made {}
service AccountCommandService { rpc Make(acct.v2.Make) returns (Made); }
service AccountQueryService { rpc Get(acct.v2.Make) returns (Made); }
service ReportQueryService { rpc Read(acct.v2.Make) returns (Made); }
service AuditQueryService { rpc Read(acct.v2.Make) returns (Made); }
""",
    ),
}

# The shapes of envoy, cosmos, etcd, lnd and authzed.
VENDORED = {
    "etcdserver/rpc.proto": """\
syntax = "proto3";
package etcdserverpb;
service KV { rpc Range(Request) returns (Answer); }
service Watch { rpc Watch(stream Request) returns (stream Answer); }
service Lease {
  rpc Grant(Request) returns (Answer);
  rpc KeepAlive(stream Request) returns (stream Answer);
}
message Request {
  enum SortOrder { NONE = 0; ASCEND = 1; }
  enum SortOrderType { KEY = 0; }
  SortOrder order = 1;
  SortOrderType type = 2;
}
message Answer {}
""",
    "cosmos/bank/v1beta1/query.proto": """\
syntax = "proto3";
package cosmos.bank.v1beta1;
service Query { rpc Params(QueryParamsRequest) returns (QueryParamsRequest); }
message QueryParamsRequest {}
""",
    "cosmos/gov/v1beta1/query.proto": """\
syntax = "proto3";
package cosmos.gov.v1beta1;
service Query { rpc Params(QueryParamsRequest) returns (QueryParamsRequest); }
message QueryParamsRequest {}
""",
    "cosmos/gov/v1/query.proto": """\
syntax = "proto3";
package cosmos.gov.v1;
service Query { rpc Params(QueryParamsRequest) returns (QueryParamsRequest); }
message QueryParamsRequest { string from = 1; }
""",
    "envoy/service/discovery/v3/ads.proto": """\
syntax = "proto3";
package envoy.service.discovery.v3;
service AggregatedDiscoveryService {
  rpc StreamAggregatedResources(stream Request) returns (stream Answer);
  rpc DeltaAggregatedResources(stream Request) returns (stream Answer);
}
message Request {
  enum Type { import = 0; lambda = 1; }
  oneof value { Type type = 1; bool None = 2; }
  map<string, Clear> Clear = 3;
}
message Clear { Clear Clear = 1; }
message Answer {
  message CopyFrom { string class = 1; }
  message Clear { string x = 1; }
  enum HasField { UNSET = 0; }
  CopyFrom copy = 1;
  Clear clear = 2;
  HasField has = 3;
}
""",
}

JSON_NAMES = """\
syntax = "proto3";
package jsonnames;
message Named {
  // These are what the names would be anyway.
  string foo_bar = 1 [json_name = "fooBar"];
  string other = 2 [json_name = "other", deprecated = true];
  string plain_name = 3;
  message Inner { int32 in_ner = 1 [deprecated = true, json_name = "inNer"]; }
}
"""

STYLES = {
    "styles/legacy.proto": """\
edition = "2024";
package styles;
import "styles/other.proto";
option features.enforce_naming_style = STYLE_LEGACY;
message bad_name {
  string FooBar = 1;
  other_bad other = 2;
  enum Kind { kind_zero = 0; }
}
""",
    "styles/other.proto": """\
edition = "2024";
package styles;
option features.enforce_naming_style = STYLE_LEGACY;
message other_bad { string X = 1; }
""",
}

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
    "versions": VERSIONS,
    "vendored": VENDORED,
    "json_names": {"jsonnames/named.proto": JSON_NAMES},
    "styles": STYLES,
    "docs": {"docs/v1/docs.proto": DOCS},
}
