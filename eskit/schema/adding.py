"""Adding generated modules to the pool that protobuf keeps for the whole process."""

from __future__ import annotations

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor


def add_file(serialized: bytes, module: str) -> FileDescriptor:
    """The descriptor of a generated module, in the pool; every pb2 module calls this once.

    Raises SCHEMA_CLASH, which names the two modules, when a loaded one declares something else
    under the same name.
    """
    pool: descriptor_pool.DescriptorPool = descriptor_pool.Default()
    try:
        return pool.AddSerializedFile(serialized)
    except TypeError as error:
        from eskit.schema.loading import clash_of

        raise (clash_of(serialized, module) or error) from error
