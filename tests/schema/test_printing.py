"""What is printed is protobuf's own JSON mapping wherever that has a form."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eskit.schema.jsonmap import to_dict
from tests.codegen.random_protos import messages
from tests.codegen.shapes import SHAPES
from tests.support.trees import generate_into, load


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("printed")
    generate_into(folder / "printed_kinds", SHAPES["kinds"])
    return load(folder, "printed_kinds.gen.kinds.v1.kinds_pb2").Kinds


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_is_printed_as_protobuf_prints_it(kinds, data):
    message = data.draw(messages(kinds.DESCRIPTOR, depth=3))
    message.ClearField("any")
    try:
        expected = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    except json_format.SerializeToJsonError:  # infinity in a Struct
        return

    printed = to_dict(message)

    assert printed == expected
    declared = [field.name for field in kinds.DESCRIPTOR.fields]
    assert list(printed) == sorted(printed, key=declared.index)
