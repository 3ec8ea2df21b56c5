"""What a ``sqlite://`` URL says of a store: its file, and what it is opened with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from eskit.clock import Clock
from eskit.errors import InvalidArgument
from eskit.sqlite.url import file_mode, sqlite_path, sqlite_url
from eskit.store.port import Storage
from eskit.store.reports import MigrationReport, ReportProgress, RestoreReport
from eskit.text.suggestions import find_nearest

_OPTIONS = ("synchronous", "busy_timeout", "command_ttl_days", "file_mode")
_LARGEST_NUMBER = 1_000_000


class SqliteLocation:
    """The Location of a store in one file."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.file = sqlite_path(url)

    @property
    def read_models(self) -> str:
        """``bank_read.db`` beside ``bank.db``."""
        return sqlite_url(self.file.with_name(f"{self.file.stem}_read{self.file.suffix}"))

    def exists(self) -> bool:
        """Whether there is something of that name."""
        return self.file.exists()

    def at(self, file: Path) -> str:
        """The URL of a file that is made with the same mode."""
        return f"{sqlite_url(file)}?file_mode={file_mode(self.url):04o}"

    def open(self, *, create: bool, clock: Clock) -> Storage:
        """Open the file, with what the options of the URL say."""
        from eskit.store.sqlite.storage import SqliteStorage

        options = _options(self.url)
        return SqliteStorage(
            self.file,
            self.url,
            create=create,
            synchronous=_synchronous(options),
            busy_timeout=_number(options, "busy_timeout", 5.0),
            command_ttl=timedelta(days=_number(options, "command_ttl_days", 7.0)),
            clock=clock,
            file_mode=file_mode(self.url),
        )

    def migrate(self, *, dry_run: bool, progress: ReportProgress) -> MigrationReport:
        """Back the file up and change its tables."""
        from eskit.store.sqlite.migrating import migrate_file

        return migrate_file(
            self.file,
            self.url,
            dry_run=dry_run,
            file_mode=file_mode(self.url),
            progress=progress,
        )

    def restore(self, backup: Path, *, dry_run: bool, progress: ReportProgress) -> RestoreReport:
        """Put a copy of the backup under the name of the file."""
        from eskit.store.sqlite.replacing import replace_file

        return replace_file(
            backup,
            self.file,
            self.url,
            dry_run=dry_run,
            file_mode=file_mode(self.url),
            progress=progress,
        )


def _options(url: str) -> dict[str, str]:
    options = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            nearest = find_nearest(name, _OPTIONS)
            known = f"There are {', '.join(_OPTIONS)}."
            raise InvalidArgument(
                f"Unknown option {name!r} in a store URL",
                hint=f"Did you mean {nearest}?" if nearest else known,
            )
    return options


def _synchronous(options: Mapping[str, str]) -> str:
    value = options.get("synchronous", "full").upper()
    if value not in {"FULL", "NORMAL"}:
        raise InvalidArgument(
            f"synchronous={value.lower()} is not possible", hint="Use full or normal."
        )
    return value


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _LARGEST_NUMBER:
        raise InvalidArgument(
            f"{name}={text} is not a number from 0 to {_LARGEST_NUMBER:,}",
            hint=f"For example {name}=5",
        )
    return number
