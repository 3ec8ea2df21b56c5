"""A first proto for an aggregate that has none."""

from __future__ import annotations

import pytest

from eskit.codegen.generate import generate
from eskit.errors import InvalidArgument, ProjectError
from eskit.scaffold.aggregate import new_aggregate
from eskit.scaffold.starter import new_proto
from tests.scaffold.parcels import create_parcels
from tests.support.coded import coded


@pytest.fixture
def project(tmp_path):
    return create_parcels(tmp_path)


def test_the_proto_declares_state_command_and_event_with_the_fields(project):
    [file] = new_proto(project, "TaxReport", fields=["owner:string", "cents:int64"]).files

    text = file.content.decode()
    assert str(file.path) == "proto/tax_report/v1/tax_report.proto"
    assert "package tax_report.v1;" in text
    assert text.count("  string tax_report_id = 1;\n  string owner = 2;\n  int64 cents = 3;\n") == 3


def test_what_was_written_generates_and_gets_its_module(project):
    new_proto(project, "Invoice", fields=["owner:string"]).apply()

    generate(proto_roots=project.proto_paths, output=project.gen_path, app_name="post")
    plan = new_aggregate(project, project.root / "proto/invoice/v1/invoice.proto")

    assert (project.gen_path / "invoice/v1/invoice_es.py").is_file()
    assert [str(file.path) for file in plan.files] == [
        "post/domain/invoice.py",
        "tests/test_invoice.py",
    ]


def test_a_proto_that_is_there_is_not_touched(project):
    new_proto(project, "Invoice").apply()

    with pytest.raises(ProjectError, check=coded("TARGET_EXISTS"), match="exists already"):
        new_proto(project, "Invoice")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("invoice", "owner:string"),
        ("../Invoice", "owner:string"),
        ("Invoice", "owner"),
        ("Invoice", "Owner:string"),
        ("Invoice", "owner:text"),
        ("Invoice", "invoice_id:string"),
    ],
)
def test_names_and_fields_that_cannot_be_are_refused(project, name, field):
    with pytest.raises(InvalidArgument):
        new_proto(project, name, fields=[field])


def test_the_nearest_type_is_suggested(project):
    with pytest.raises(InvalidArgument) as refused:
        new_proto(project, "Invoice", fields=["owner:strng"])

    assert refused.value.hint == "Did you mean string?"
