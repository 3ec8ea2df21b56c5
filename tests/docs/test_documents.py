"""What README.md and docs/ show is what happens."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from eskit.project.settings import DEFAULTS
from tests.docs.document import read_steps, run_document
from tests.support.postgres import server_url

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
LINKED = [*DOCUMENTS, CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "CHANGELOG.md"]


postgres = pytest.fixture(scope="session")(server_url)
"""The URL of a PostgreSQL server."""


@pytest.fixture
def database(postgres):
    """The variables that name an empty database, for documents that name none in their URLs."""
    name, parts = f"docs_{os.getpid()}", urlsplit(postgres)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield {
            "PGHOST": parts.hostname or "",
            "PGPORT": str(parts.port or 5432),
            "PGUSER": unquote(parts.username or ""),
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": name,
        }
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.docs
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_shows_is_what_happens(document, tmp_path, request):
    needs_server = "postgresql:///" in document.read_text(encoding="utf-8")
    variables = request.getfixturevalue("database") if needs_server else {}

    run_document(document, tmp_path, environment=variables)


def test_the_readme_has_two_set_up_commands_of_one_line():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")

    blocks = re.findall(r"^```sh\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)

    assert [block.count("\n") for block in blocks] == [1, 1]


@pytest.mark.parametrize("document", LINKED, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document):
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)

    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", text)

    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", LINKED, ids=lambda path: path.name)
def test_every_link_to_a_heading_leads_to_one(document):
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)

    links = re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", text)

    assert [
        (file, anchor)
        for file, anchor in links
        if anchor not in _anchors(document.parent / file if file else document)
    ] == []


@cache
def _anchors(document: Path) -> set[str]:
    """What headings are called in links: small letters, no punctuation, a dash for each blank."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_all_code_that_a_document_names_exists(document):
    text = document.read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|eskit)/[\w/]+\.py)::(\w+)(?:::(\w+))?`", text)

    missing = []
    for file, *names in named:
        source = (CHECKOUT / file).read_text(encoding="utf-8") if (CHECKOUT / file).exists() else ""
        missing += [
            f"{file}::{name}"
            for name in filter(None, names)
            if not re.search(rf"\b(?:def|class) {name}\b", source)
        ]

    assert missing == []


def test_every_command_on_a_store_is_run_by_some_document():
    reference = (CHECKOUT / "docs" / "cli.md").read_text(encoding="utf-8")
    commands = re.findall(
        r"^## (eskit (?:store|stream|snapshot|claim) [a-z]+)$", reference, re.MULTILINE
    )
    run = "\n".join(
        step.text
        for document in DOCUMENTS
        for step in read_steps(document.read_text(encoding="utf-8"))
    )

    assert len(commands) > 15
    missing = [c for c in commands if not re.search(rf"^{c}\b", run, re.MULTILINE)]
    assert missing == []


def test_every_setting_is_described():
    page = (CHECKOUT / "docs" / "configuration.md").read_text(encoding="utf-8")

    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]

    assert [name for name in DEFAULTS if not any(f"`{name}`" in row for row in rows)] == []


def test_the_code_in_the_readme_is_the_banks():
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    bank = CHECKOUT / "templates" / "project" / "bank"
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for pattern in ("account.proto", "account.py*")
        for path in sorted(bank.rglob(pattern))
    )

    fragments = [
        fragment.strip("\n")
        for block in re.findall(r"^```(?:proto|py)\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
        for fragment in re.split(r"\n\n|^ *(?:#|//) …\n\}?", block, flags=re.MULTILINE)
        if fragment.strip()
    ]

    assert len(fragments) > 5
    assert [fragment for fragment in fragments if fragment not in source] == []
