"""Processes of a test, ended with it."""

from __future__ import annotations

import pytest

from tests.support.running import launcher

launch = pytest.fixture(launcher)
