"""URLs that name a SQLite file: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from eskit.errors import InvalidArgument
from eskit.files.modes import PRIVATE, parse_mode

_PREFIX = "sqlite:///"
_PASSWORD = re.compile(r"([?&]\w*password=)[^&#]*")
_QUOTED = {ord(character): quote(character) for character in "%?#\t\n\r"}
"""What means something in a URL, or is dropped from one; the rest stays as people write it."""


def is_sqlite(url: str) -> bool:
    """Whether the URL is one of SQLite's, right or wrong."""
    return url.startswith("sqlite:")


def file_uri(path: Path, *, mode: str) -> str:
    """The URI by which SQLite opens a file; `mode` is ro, rw or rwc, with more options behind."""
    return f"file://{quote(str(path.absolute()))}?mode={mode}"


def sqlite_path(url: str) -> Path:
    """The file that a ``sqlite://`` URL names; InvalidArgument if it names none."""
    if "#" in url:
        raise InvalidArgument(
            f"{without_secrets(url)!r} has a # in it, where a URL ends",
            hint="If it is part of the file's name, write %23.",
        )
    path = unquote(urlsplit(url).path)[1:]
    if not url.startswith(_PREFIX) or not path or path == ":memory:" or "\0" in path:
        raise InvalidArgument(
            f"{without_secrets(url)!r} does not name a SQLite file",
            hint="Use sqlite:///relative.db or sqlite:////absolute/path.db; memory:// for no file.",
        )
    return Path(path)


def find_path(url: str) -> Path | None:
    """The file that a URL names, None for a URL that is not SQLite's."""
    return sqlite_path(url) if is_sqlite(url) else None


def sqlite_url(path: Path) -> str:
    """The URL that names a file: the other way round."""
    return f"{_PREFIX}{path.as_posix().translate(_QUOTED)}"


def file_mode(url: str) -> int:
    """What the files of a SQLite URL are made with; InvalidArgument for what is no mode."""
    given = dict(parse_qsl(urlsplit(url).query)).get("file_mode")
    return PRIVATE if given is None else parse_mode(given)


def with_file_mode(url: str, mode: str) -> str:
    """The same URL for files made with `mode`, unless it says already; others stay as they are."""
    if not mode or not url.startswith(_PREFIX) or "file_mode=" in url.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in url else '?'}file_mode={mode}"


def absolute_url(url: str, folder: Path) -> str:
    """The same URL with a SQLite path in it that is relative to `folder` made absolute.

    Raises InvalidArgument if it names no file.
    """
    if not url.startswith(_PREFIX) or url.startswith(f"{_PREFIX}/"):
        return url
    _, mark, options = url.partition("?")
    return f"{sqlite_url(folder / sqlite_path(url))}{mark}{options}"


def without_secrets(url: str) -> str:
    """The URL with stars for a user and passwords in it."""
    url = _PASSWORD.sub(r"\1***", url)
    try:
        parts = urlsplit(url)
    except ValueError:  # nobody knows what is what in it
        return f"{url.partition(':')[0]}:***"
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()
