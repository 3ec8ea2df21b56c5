"""What users' code has raised: whether it failed, and what is kept and shown of it."""

from __future__ import annotations

import threading
import traceback
from types import FrameType

LONGEST_LINE = 1_000
LONGEST_TRACEBACK = 20_000
_CALLERS = frozenset({"eskit", "asyncio", "concurrent", "contextvars", "threading"})
"""Packages whose code calls users' handlers."""


def is_ctrl_c(error: BaseException) -> bool:
    """Whether somebody interrupts: whatever else users' code raises, it has failed.

    Only the main thread hears of Ctrl-C.
    """
    main = threading.current_thread() is threading.main_thread()
    return main and isinstance(error, KeyboardInterrupt)


def error_line(error: BaseException) -> str:
    """The error as people say it: its class and first line, cut when that is long."""
    text = _text_of(error).partition("\n")[0]
    name = type(error).__name__
    return shortened(f"{name}: {text}" if text else name, LONGEST_LINE)


def error_traceback(error: BaseException, *, of_users: bool = False) -> str:
    """The traceback as text, its longest lines cut, then its middle.

    With `of_users` it begins at users' code: what called that says nothing to who wrote it.
    """
    trace = error.__traceback__
    while of_users and trace is not None and _is_caller(trace.tb_frame):
        trace = trace.tb_next
    parts = traceback.format_exception(type(error), error, trace or error.__traceback__)
    lines = _storable("".join(parts)).split("\n")
    text = "\n".join(shortened(line, LONGEST_LINE) for line in lines)
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2
    left_out = f"\n… {len(text) - 2 * half:,} characters left out …\n"
    return text[:half] + left_out + text[-half:]


def _is_caller(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in _CALLERS


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning and how long all of it is."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text):,} characters in all)"


def _text_of(error: BaseException) -> str:
    try:
        return _storable(str(error))
    except BaseException as raised:  # the user's own __str__ must not hide that there is an error
        if is_ctrl_c(raised):
            raise
        return "its text cannot be shown"


def _storable(text: str) -> str:
    """Text as UTF-8 can hold it: a file name in an error may not be."""
    return text.encode(errors="backslashreplace").decode()
