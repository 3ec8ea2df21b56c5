"""Processes of a test, ended with it."""

from __future__ import annotations

import pytest

from tests.cli.running import launcher

launch = pytest.fixture(launcher)
