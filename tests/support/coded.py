"""Expecting an error by its code, which says more than its class."""

from __future__ import annotations

from collections.abc import Callable

from eskit.errors import EskitError


def coded(code: str) -> Callable[[EskitError], bool]:
    """For ``pytest.raises(…, check=coded("TARGET_EXISTS"))``."""
    return lambda error: error.code == code
