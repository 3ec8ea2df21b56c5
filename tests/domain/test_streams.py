"""Names of streams and tenants, and expected versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eskit.domain.streams import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    category_of,
    check_expected_version,
    check_stream,
    check_tenant,
    id_of,
    stream_name,
    version_matches,
)
from eskit.errors import InvalidArgument

TYPES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)
IDS = st.text(min_size=1, max_size=255).filter(str.isprintable)


@given(TYPES, IDS)
def test_a_stream_name_gives_back_its_type_and_id(kind, an_id):
    stream = stream_name(kind, an_id)

    assert (category_of(stream), id_of(stream)) == (kind, an_id)
    assert check_stream(stream) == stream


def test_the_id_may_hold_dashes():
    assert stream_name("Account", "acc-001") == "Account-acc-001"
    assert category_of("Account-acc-001") == "Account"
    assert id_of("Account-acc-001") == "acc-001"


@pytest.mark.parametrize("kind", ["", "1st", "Bank-Account", "Kontó", "A\n", "A B"])
def test_other_types_are_refused(kind):
    with pytest.raises(InvalidArgument):
        stream_name(kind, "1")


@pytest.mark.parametrize("an_id", ["", "x" * 256, "a\nb", "a\x00", "\ud800", "\x1b[31m"])
def test_other_ids_are_refused(an_id):
    with pytest.raises(InvalidArgument):
        stream_name("Account", an_id)
    with pytest.raises(InvalidArgument):
        check_stream(f"Account-{an_id}")


@pytest.mark.parametrize("tenant", ["", "acme", "0", "a.b-c_d", "x" * 63])
def test_tenant_names(tenant):
    assert check_tenant(tenant) == tenant


@pytest.mark.parametrize("tenant", ["-a", ".", "a b", "a/b", "x" * 64, "a\n", "ä"])
def test_other_tenant_names_are_refused(tenant):
    with pytest.raises(InvalidArgument):
        check_tenant(tenant)


@pytest.mark.parametrize(
    ("expected", "matching"),
    [
        (ANY, [0, 1, 7]),
        (NO_STREAM, [0]),
        (STREAM_EXISTS, [1, 7]),
        (0, [0]),
        (7, [7]),
    ],
)
def test_what_an_expected_version_matches(expected, matching):
    assert [actual for actual in (0, 1, 7) if version_matches(expected, actual)] == matching


@pytest.mark.parametrize("expected", [-1, True, False, 1.0, "any", None])
def test_what_is_no_expected_version(expected):
    with pytest.raises(InvalidArgument):
        check_expected_version(expected)


def test_expected_versions_read_well():
    assert [str(rule) for rule in (ANY, NO_STREAM, STREAM_EXISTS)] == [
        "any",
        "no stream",
        "stream exists",
    ]
