"""The catalog in Markdown says what a proto says, and nothing of it is Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from eskit import App
from eskit.catalog.description import make_catalog
from eskit.catalog.markdown import render_catalog
from eskit.codegen.reading.protoc import parse_protos
from eskit.codegen.reading.tree import check_schema
from tests.support.trees import proto, write_protos

COMMENTED = """
// {comment}
message Thing {{
  option (eventsourcing.aggregate_root) = {{id_field: "id"}};
  string id = 1;
}}
// {comment}
message MadeEvent {{
  option (eventsourcing.event) = {{aggregate_name: "Thing"}};
  // {comment}
  string id = 1;
}}
"""


def markdown(folder: Path, comment: str) -> str:
    text = proto("thing.v1", COMMENTED.format(comment=comment))
    parsed = parse_protos([write_protos(folder, {"thing.proto": text})])
    schema, _ = check_schema(
        parsed.files, parsed.sources.names, sources=parsed.sources, nats_prefix="events"
    )
    return render_catalog(make_catalog(schema, parsed.files, App("thing")))


@pytest.mark.parametrize(
    "comment",
    [
        '```mermaid graph TD; click A "javascript:alert(1)"',
        "~~~mermaid",
        "Press [here](javascript:alert(1)) or ![see](javascript:alert(1)).",
        "<javascript:alert(1)> <img src=x onerror=alert(1)> &lt;b&gt;",
        "# A heading",
        "- a list",
        "12) a list",
        "> a quote",
        "=== underlined",
        "*strong* _words_ and `code` | cells $math$",
    ],
)
def test_a_comment_is_shown_as_it_is(comment, tmp_path):
    text = markdown(tmp_path, comment)

    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert [token.info for token in tokens if token.type == "fence"] == ["mermaid"]
    assert [token.tag for token in tokens if token.type == "heading_open"] == [
        "h1",
        "h2",
        "h2",
        "h3",
    ]
    assert {token.type for token in tokens} <= PLAIN
    assert {token.type for token in inline} <= {"text", "text_special", "code_inline"}
    said = ["".join(c.content for c in token.children or ()) for token in tokens]
    assert said.count(comment) == 3


PLAIN = {
    *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "fence"),
    *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
    *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
}
