"""Names of streams and tenants, and what a writer may expect of a stream's version."""

from __future__ import annotations

import enum
import re

from eskit.errors import InvalidArgument
from eskit.text.unicode import is_text

MAX_TYPE = 255
"""Letters of an aggregate type: it is a part of the subject under which NATS has its events."""
_TYPE = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_TYPE - 1}}}\Z")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_MAX_ID = 255
_STREAM = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{MAX_TYPE - 1}}}-.{{1,{_MAX_ID}}}\Z")


class ExpectedVersion(enum.Enum):
    """What a writer expects when it does not name an exact version."""

    ANY = "any"
    NO_STREAM = "no stream"
    STREAM_EXISTS = "stream exists"

    def __str__(self) -> str:
        return self.value


ANY = ExpectedVersion.ANY
"""Append whatever the version is."""
NO_STREAM = ExpectedVersion.NO_STREAM
"""Append only if the stream has no event yet."""
STREAM_EXISTS = ExpectedVersion.STREAM_EXISTS
"""Append only if the stream has at least one event."""


def version_matches(expected: int | ExpectedVersion, actual: int) -> bool:
    """Whether a stream at version `actual` is what the writer expected."""
    if expected is ExpectedVersion.ANY:
        return True
    if expected is ExpectedVersion.NO_STREAM:
        return actual == 0
    if expected is ExpectedVersion.STREAM_EXISTS:
        return actual > 0
    return actual == expected


def check_expected_version(expected: object) -> None:
    """Raise InvalidArgument unless `expected` is a version (0 or more) or an ExpectedVersion."""
    if isinstance(expected, int) and not isinstance(expected, bool) and expected >= 0:
        return
    if not isinstance(expected, ExpectedVersion):
        raise InvalidArgument(
            f"Expected version {expected!r} is not valid",
            hint="Pass a version (0 or more), ANY, NO_STREAM or STREAM_EXISTS.",
        )


def check_aggregate_type(name: str) -> str:
    """Return `name`, or raise InvalidArgument if no aggregate may be called that."""
    if not is_text(name) or not _TYPE.match(name):
        raise InvalidArgument(
            f"{name!r:.300} is not an aggregate type",
            hint="A type starts with a letter and has only letters, digits and underscores, "
            f"{MAX_TYPE} at most.",
        )
    return name


def stream_name(aggregate_type: str, aggregate_id: str) -> str:
    """The stream of one aggregate: ``Account`` and ``acc-001`` give ``Account-acc-001``."""
    check_aggregate_type(aggregate_type)
    _check_id(aggregate_id)
    return f"{aggregate_type}-{aggregate_id}"


def category_of(stream: str) -> str:
    """The part before the first ``-``: the aggregate type."""
    return stream.partition("-")[0]


def id_of(stream: str) -> str:
    """The part after the first ``-``: the aggregate's id."""
    return stream.partition("-")[2]


def check_stream(stream: str) -> str:
    """Return `stream`, or raise InvalidArgument if it is not ``<type>-<id>``."""
    # One match for what every append asks; which part is wrong matters only when one is.
    if is_text(stream) and _STREAM.match(stream) and stream.isprintable():
        return stream
    category, dash, aggregate_id = str(stream).partition("-")
    if not is_text(stream) or not dash or not category:
        raise InvalidArgument(
            f"{stream!r:.300} is not a stream name",
            hint="A stream is named <aggregate type>-<aggregate id>, such as Account-acc-001.",
        )
    check_aggregate_type(category)
    _check_id(aggregate_id)
    return stream


def check_tenant(tenant: str) -> str:
    """Return `tenant` (may be empty), or raise InvalidArgument for a name that is not allowed."""
    if tenant == "":
        return tenant
    if not is_text(tenant) or not _TENANT.match(tenant):
        raise InvalidArgument(
            f"{tenant!r:.300} is not a tenant name",
            hint="Up to 63 letters, digits, '_', '.' and '-', starting with a letter or digit; "
            "'' for none.",
        )
    return tenant


def _check_id(aggregate_id: str) -> None:
    if (
        not is_text(aggregate_id)
        or not 1 <= len(aggregate_id) <= _MAX_ID
        or not aggregate_id.isprintable()
    ):
        raise InvalidArgument(
            f"{aggregate_id!r:.300} is not an aggregate id",
            hint=f"An id is 1 to {_MAX_ID} printable characters.",
        )
