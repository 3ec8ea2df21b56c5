"""Looking files up in a pool of descriptors."""

from __future__ import annotations

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool


def find_file(pool: DescriptorPool, name: str) -> FileDescriptor:
    """The file called `name`, which need not be ASCII; KeyError if the pool has none."""
    # As text, upb (as of protobuf 7.36) finds no name that has other characters than ASCII.
    return pool.FindFileByName(name.encode())  # type: ignore[arg-type]
