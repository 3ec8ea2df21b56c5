"""Times as stores keep them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eskit.domain.time import EPOCH, from_microseconds, to_microseconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_and_its_microseconds_are_the_same(moment):
    assert from_microseconds(to_microseconds(moment)) == moment


def test_a_time_of_another_zone_is_the_same_moment():
    moment = datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))

    assert to_microseconds(moment) == 0
    assert from_microseconds(0) == EPOCH == moment


def test_what_is_no_time_is_an_error():
    with pytest.raises(OverflowError):
        from_microseconds(2**63)
    with pytest.raises(TypeError):
        to_microseconds(datetime(2030, 1, 1))  # noqa: DTZ001
