"""Fields as protos declare them: nested ones, oneofs, enums, comments and custom options."""

from __future__ import annotations

import pytest

from eskit.codegen.reading.comments import comments_of
from eskit.codegen.reading.protoc import parse_protos
from eskit.schema.fields import FieldInfo, custom_options, describe_fields
from eskit.schema.recorded import schema_pool
from tests.support.trees import write_protos

OPTIONS = """\
syntax = "proto3";
package acme.opt;
import "google/protobuf/descriptor.proto";
message Rule { int32 min = 1; repeated string words = 2; }
extend google.protobuf.FieldOptions { Rule rule = 51001; }
extend google.protobuf.MethodOptions { string scope = 51002; }
"""
ORDER = """\
syntax = "proto3";
package acme.order;
import "acme/opt.proto";
import "google/protobuf/timestamp.proto";
// What is ordered.
message Order {
  // How many.
  //
  // Not shown.
  int32 count = 1 [(acme.opt.rule) = {min: 3 words: ["a"]}];
  oneof payment {
    string card = 2;  // Its number.
    Cash cash = 3;
  }
  optional string note = 4;
  repeated Order parts = 5;
  map<string, Cash> by_name = 6;
  google.protobuf.Timestamp at = 7;
  enum Kind { SMALL = 0; LARGE = 1; }
  repeated Kind kinds = 8;
  message Cash { int64 cents = 1; }
}
service Orders { rpc Place(Order) returns (Order) { option (acme.opt.scope) = "write"; } }
"""


def info(name: str, kind: str, doc: str = "", **more: object) -> FieldInfo:
    given = {"oneof": "", "values": (), "options": {}, "fields": ()} | more
    return FieldInfo(name=name, type=kind, doc=doc, **given)


@pytest.fixture
def declared(tmp_path):
    root = write_protos(tmp_path, {"acme/opt.proto": OPTIONS, "acme/order.proto": ORDER})
    files = parse_protos([root]).files
    return schema_pool(files), comments_of(files)


def test_every_field_is_told_with_what_is_in_it(declared):
    pool, comments = declared
    cents = (info("cents", "int64"),)

    fields = describe_fields(pool.FindMessageTypeByName("acme.order.Order"), comments)

    assert fields == (
        info("count", "int32", "How many.", options={"acme.opt.rule": {"min": 3, "words": ["a"]}}),
        info("card", "string", "Its number.", oneof="payment"),
        info("cash", "acme.order.Order.Cash", oneof="payment", fields=cents),
        info("note", "string"),
        info("parts", "repeated acme.order.Order"),
        info("by_name", "map<string, acme.order.Order.Cash>", fields=cents),
        info("at", "google.protobuf.Timestamp"),
        info("kinds", "repeated acme.order.Order.Kind", values=("SMALL", "LARGE")),
    )


def test_what_is_said_of_a_field_is_one_line(declared):
    pool, comments = declared

    count, card, *_ = describe_fields(pool.FindMessageTypeByName("acme.order.Order"), comments)

    assert count.said == '(acme.opt.rule) = {"min": 3, "words": ["a"]}; How many.'
    assert card.said == "one of payment; Its number."


def test_custom_options_of_methods_are_told(declared):
    pool, _ = declared

    method = pool.FindServiceByName("acme.order.Orders").methods_by_name["Place"]

    assert custom_options(method) == {"acme.opt.scope": "write"}
