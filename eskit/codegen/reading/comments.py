"""The comments of protos, by the full name of what they are on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from eskit.codegen.reading.findings import join
from eskit.codegen.reading.locate import Locator, PathInFile

_MESSAGES, _SERVICES = 4, 6
_FIELDS, _NESTED, _METHODS = 2, 3, 2


def comments_of(files: FileDescriptorSet) -> dict[str, str]:
    """The first paragraph of each comment on a message, a field or a method, on one line."""
    return {
        name: summary
        for file in files.file
        for locator in [Locator(file, lambda _: None)]
        for name, place in (
            *_in_messages(file.package, file.message_type, (_MESSAGES,)),
            *(
                (join(file.package, service.name, method.name), (_SERVICES, i, _METHODS, j))
                for i, service in enumerate(file.service)
                for j, method in enumerate(service.method)
            ),
        )
        if (summary := summary_of(locator.comment(place)))
    }


def summary_of(comment: str) -> str:
    """The first paragraph of a comment, on one line."""
    return " ".join(comment.partition("\n\n")[0].split())


def _in_messages(
    scope: str, messages: Iterable[DescriptorProto], place: PathInFile
) -> Iterator[tuple[str, PathInFile]]:
    for index, message in enumerate(messages):
        name, here = join(scope, message.name), (*place, index)
        yield name, here
        for number, field in enumerate(message.field):
            yield f"{name}.{field.name}", (*here, _FIELDS, number)
        yield from _in_messages(name, message.nested_type, (*here, _NESTED))
