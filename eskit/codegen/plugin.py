"""The protoc plugin ``protoc-gen-eskit``: the same generator, driven by protoc or buf.

``protoc --eskit_out=bank/gen --eskit_opt=app=bank …`` and buf write the bytes that ``eskit gen``
writes. buf needs ``strategy: all``, because aggregates, events and services of one application
may be spread over folders.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eskit.codegen.reading.clashes import module_clashes
from eskit.codegen.reading.exclusion import Exclusion
from eskit.codegen.reading.locate import Locators
from eskit.codegen.reading.protoc import compile_descriptors, parse_descriptors
from eskit.codegen.reading.sources import Sources, is_foreign
from eskit.codegen.reading.tree import check_schema, render_tree
from eskit.errors import Diagnostic, EskitError, InvalidArgument, SchemaInvalid

_OLDEST_EDITION, _NEWEST_EDITION = 998, 1001  # proto2 to edition 2024
_FEATURES = (
    CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS
)


def run() -> None:
    """Answer the request on standard input; the entry point of ``protoc-gen-eskit``."""
    response = respond(sys.stdin.buffer.read())
    sys.stdout.buffer.write(response.SerializeToString())


def respond(request: bytes) -> CodeGeneratorResponse:
    """The answer to a CodeGeneratorRequest: files, or one text with every diagnostic."""
    response = CodeGeneratorResponse(
        supported_features=_FEATURES,
        minimum_edition=_OLDEST_EDITION,
        maximum_edition=_NEWEST_EDITION,
    )
    try:
        files = _generate(CodeGeneratorRequest.FromString(request))
    except EskitError as error:
        diagnostics = error.diagnostics if isinstance(error, SchemaInvalid) else ()
        text = "\n".join(map(_line, diagnostics)) or f"{error.message}\n{error.hint}"
        response.error = text.strip()
    else:
        for name, text in files.items():
            response.file.add(name=name, content=text)
    return response


def _generate(request: CodeGeneratorRequest) -> dict[str, str]:
    options = _options(request.parameter)
    # What only sources say, such as features of style, is in descriptors of their own.
    sourced = {file.name: file for file in request.source_file_descriptors}
    read = [sourced.get(file.name, file) for file in request.proto_file]
    files = parse_descriptors(FileDescriptorSet(file=read).SerializeToString())
    names = sorted(name for name in request.file_to_generate if not is_foreign(name))
    # The sources are where protoc found them: below the current folder, or unknown.
    sources = Sources(
        roots=(),
        files={name: Path(name) for name in names},
        exclusion=Exclusion(options.exclude),
    )
    if clashes := module_clashes(names):
        raise SchemaInvalid(clashes[0].message, diagnostics=clashes)
    locators = Locators(files.file, sources.read)
    schema, _ = check_schema(
        files, names, sources=sources, nats_prefix=options.nats_prefix, locators=locators
    )
    compiled = compile_descriptors(files, names)
    if not compiled.files.file:
        raise SchemaInvalid("protoc refused the descriptors", diagnostics=compiled.messages)
    return render_tree(
        files,
        names,
        compiled.modules,
        schema=schema,
        app_name=options.app,
        locators=locators,
    )


class _Options(NamedTuple):
    """``app=bank,nats_prefix=events``, the first of which is needed to name the SDK.

    ``exclude`` may be given again and again.
    """

    app: str = "app"
    nats_prefix: str = "events"
    exclude: tuple[str, ...] = ()


def _options(parameter: str) -> _Options:
    given: dict[str, list[str]] = {name: [] for name in _Options._fields}
    for item in filter(None, parameter.split(",")):
        name, _, value = item.partition("=")
        if name not in given or not value:
            raise InvalidArgument(
                f"Unknown option {item!r}",
                hint="Options: app=NAME, nats_prefix=PREFIX, exclude=PACKAGE.",
            )
        given[name].append(value)
    default = _Options()
    return _Options(
        app=[default.app, *given["app"]][-1],
        nats_prefix=[default.nats_prefix, *given["nats_prefix"]][-1],
        exclude=tuple(given["exclude"]),
    )


def _line(finding: Diagnostic) -> str:
    place = f"{finding.file}:{finding.line}:{finding.column}" if finding.line else finding.file
    return f"{place}: {finding.message}. {finding.hint}"
