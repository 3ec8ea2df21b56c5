"""The message classes of account_events.proto, compiled on import."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc


def _compile() -> dict[str, Any]:
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "account_events.binpb"
        arguments = [
            "protoc",
            f"-I{folder}",
            f"--descriptor_set_out={target}",
            "account_events.proto",
        ]
        assert protoc.main(arguments) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    (file,) = files.file
    file.name = "eskit/tests/account_events.proto"
    descriptor = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(message)
        for name, message in descriptor.message_types_by_name.items()
    }


_MESSAGES = _compile()
AccountOpened = _MESSAGES["AccountOpened"]
MoneyDeposited = _MESSAGES["MoneyDeposited"]
MoneyWithdrawn = _MESSAGES["MoneyWithdrawn"]
AccountClosed = _MESSAGES["AccountClosed"]
CentsDeposited = _MESSAGES["CentsDeposited"]
NoteAdded = _MESSAGES["NoteAdded"]
Counted = _MESSAGES["Counted"]
