"""The catalog as Markdown with a Mermaid diagram."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from eskit.catalog.description import Catalog
from eskit.errors import MissingPackage
from eskit.resources import templates_dir
from eskit.schema.fields import FieldInfo

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
except ModuleNotFoundError as error:
    raise MissingPackage("The catalog", "jinja2") from error


def render_catalog(catalog: Catalog) -> str:
    """The same text for the same catalog, to be committed and compared."""
    ids = _node_ids(catalog)
    environment = Environment(
        loader=FileSystemLoader(templates_dir() / "codegen"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # Markdown; the template escapes what a proto says
    )
    environment.filters |= {"short": _short, "prose": _prose, "label": _label}
    text = environment.get_template("catalog.md.jinja").render(
        catalog=catalog,
        ids=ids,
        edges=list(_edges(catalog, ids)),
        messages=_messages(catalog),
        upcasts=[
            (ids[event.event_type], ids[event.read_as])
            for aggregate in catalog.aggregates
            for event in aggregate.events
            if event.read_as in ids
        ],
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def _node_ids(catalog: Catalog) -> dict[str, str]:
    """What stands for each thing in the diagram: letters and numbers, by order of appearance."""
    kinds = {
        "aggregate": [a.name for a in catalog.aggregates],
        "command": [c.path for a in catalog.aggregates for c in a.commands],
        "event": [e.event_type for a in catalog.aggregates for e in a.events],
        "projection": [p.name for p in catalog.projections],
        "reaction": [r.name for r in catalog.reactions],
        "query": [q.path for q in catalog.queries],
    }
    return {
        name: f"{kind}{number}"
        for kind, names in kinds.items()
        for number, name in enumerate(names, start=1)
    }


def _messages(catalog: Catalog) -> dict[str, list[tuple[str, str, str]]]:
    """By full name, the fields of events and requests: path, type and what is said of it."""
    described = {
        name: fields
        for aggregate in catalog.aggregates
        for name, fields in (
            *((method.request, method.fields) for method in aggregate.commands),
            *((event.event_type, event.fields) for event in aggregate.events),
            *((method.request, method.fields) for method in aggregate.queries),
        )
    } | {method.request: method.fields for method in catalog.services}
    return {name: list(_rows(fields, "")) for name, fields in described.items() if fields}


def _rows(fields: Sequence[FieldInfo], outer: str) -> Iterator[tuple[str, str, str]]:
    for field in fields:
        path = f"{outer}{field.name}"
        yield path, field.type, field.said
        yield from _rows(field.fields, f"{path}.")


def _edges(catalog: Catalog, ids: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Command to event, event to projection and reaction, these to query and command."""
    for aggregate in catalog.aggregates:
        for command in aggregate.commands:
            yield from ((ids[command.path], ids[event]) for event in command.emits)
    for projection in catalog.projections:
        yield from ((ids[e], ids[projection.name]) for e in projection.handles if e in ids)
        yield from ((ids[projection.name], ids[q]) for q in projection.read_by if q in ids)
    for reaction in catalog.reactions:
        yield from ((ids[e], ids[reaction.name]) for e in reaction.handles if e in ids)
        yield from ((ids[reaction.name], ids[c]) for c in reaction.sends if c in ids)


_SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w)|^[-+=#]")
_NUMBER = re.compile(r"^(\d+)(?=[.)])")
_ESCAPED = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def _prose(text: str) -> str:
    """Words of a proto as they are: nothing in them is Markdown, HTML or a diagram."""
    escaped = _SPECIAL.sub(lambda found: _ESCAPED.get(found[0], f"\\{found[0]}"), text)
    return _NUMBER.sub(r"\1\\", escaped)


def _label(text: str) -> str:
    """The text of a node in a diagram, within quotes."""
    return text.replace('"', "#quot;")


def _short(name: str) -> str:
    """The last part of a full name."""
    return re.split(r"[./]", name)[-1]
