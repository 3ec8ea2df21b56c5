"""Text that a store can keep."""

from __future__ import annotations

from eskit.errors import InvalidArgument


def is_text(value: object) -> bool:
    """Whether a value is text, whatever its type was declared to be."""
    return isinstance(value, str)


def check_text(text: str, what: str) -> int:
    """The size of `text` in bytes; InvalidArgument when it holds half of a surrogate pair.

    Python makes such text of bytes that are not UTF-8, of a command line for example.
    """
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{what} holds text that is not valid Unicode: {text[error.start : error.end]!r}",
            hint="Give it as UTF-8.",
        ) from None
