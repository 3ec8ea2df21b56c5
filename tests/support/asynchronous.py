"""Coroutine tests without a plugin: import the hook in a folder's conftest.py."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

LIMIT = 240.0


def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run a test that is a coroutine function in an event loop of its own, for LIMIT seconds."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), LIMIT))
    return True
