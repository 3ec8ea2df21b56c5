"""Generate a project's code: nothing where nothing changed, else parse, check, render, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eskit.codegen.cache import Cache
from eskit.codegen.output import GenResult, update
from eskit.codegen.reading.sources import load_sources

__all__ = ["GenResult", "generate"]


def generate(
    *,
    proto_roots: Sequence[Path],
    exclude: Sequence[str] = (),
    output: Path,
    app_name: str,
    nats_prefix: str = "events",
    check: bool = False,
    force: bool = False,
    cache: Path | None = None,
) -> GenResult:
    """Generate the code of every proto below `proto_roots` into the folder `output`.

    `exclude` names files, packages and services to leave out; of files that others need, messages
    are generated.

    With `check` nothing is written and the result says which files are stale or edited. `cache`
    is a file to remember in what was generated from what: a run that finds neither protos nor
    generated files changed stops there. Raises SchemaInvalid with every diagnostic when a proto
    cannot work, and ProjectError when a generated file was edited and `force` is not given;
    nothing is written then.
    """
    sources = load_sources(proto_roots, exclude=exclude)
    settings = (app_name, nats_prefix, *exclude)
    remembered = Cache(cache, sources, output, settings=settings) if cache else None
    if remembered and not check and (unchanged := remembered.recall()) is not None:
        return unchanged

    # protoc and the template engine take longer to import than to find out that nothing changed.
    from eskit.codegen.reading.tree import make_tree

    inputs = remembered.inputs() if remembered else ""
    tree = make_tree(sources, app_name=app_name, nats_prefix=nats_prefix)
    result = update(output, tree.files, check=check, force=force)
    if remembered and not check:
        remembered.keep(tree.files, inputs=inputs, imported=tree.imported, warnings=tree.warnings)
    return replace(result, warnings=tree.warnings)
