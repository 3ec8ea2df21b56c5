"""What a ``postgresql://`` URL says of a store: its database and schema, and how it is opened."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from eskit.clock import Clock
from eskit.errors import EskitError, InvalidArgument, MissingPackage, Unsupported
from eskit.store.port import Storage
from eskit.store.reports import MigrationReport, ReportProgress, RestoreReport

if TYPE_CHECKING:
    from eskit.postgres.url import PostgresUrl

OPTIONS = ("command_ttl_days",)
"""The options of a store's URL that are eskit's own, beside the schema."""
_DAYS = 7.0
_LARGEST_NUMBER = 1_000_000


class PostgresLocation:
    """The Location of a store in a schema of a PostgreSQL database."""

    file = None

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def read_models(self) -> str:
        """A schema beside the store's: ``bank_read`` for ``bank``."""
        from eskit.postgres.url import with_schema

        return with_schema(self.url, f"{self._parsed().schema}_read", without=OPTIONS)

    def exists(self) -> bool:
        """Whether the database is there and has a store in the schema."""
        from eskit.postgres.connection import connect
        from eskit.store.postgres.schema import find_version

        try:
            with connect(self._parsed()) as connection:
                return find_version(connection) > 0
        except InvalidArgument:
            raise
        except EskitError:
            return False

    def at(self, file: Path) -> NoReturn:
        """Refused: there is no file."""
        raise Unsupported(
            f"{self._parsed().shown} has no file which {file} could stand for",
            hint="Only stores in a file are copied as one.",
        )

    def open(self, *, create: bool, clock: Clock) -> Storage:
        """Connect, check that the server keeps eskit's promises, and open or make the store."""
        from eskit.store.postgres.storage import PostgresStorage

        url = self._parsed()
        return PostgresStorage(
            url, create=create, command_ttl=timedelta(days=self._days(url)), clock=clock
        )

    def migrate(self, *, dry_run: bool, progress: ReportProgress) -> MigrationReport:  # noqa: ARG002
        """Change the tables, under the lock of the store; backing up is the operator's."""
        from eskit.postgres.connection import connect
        from eskit.postgres.errors import translated
        from eskit.store.postgres.schema import current_version, find_version, migrate

        url = self._parsed()
        with translated(url.shown), connect(url) as connection:
            if dry_run:
                return MigrationReport(before=find_version(connection), after=current_version())
            before, after = migrate(connection, url)
        return MigrationReport(before=before, after=after)

    def restore(
        self,
        backup: Path,  # noqa: ARG002
        *,
        dry_run: bool,  # noqa: ARG002
        progress: ReportProgress,  # noqa: ARG002
    ) -> RestoreReport:
        """Refused: PostgreSQL restores its own dumps."""
        raise Unsupported(
            f"{self._parsed().shown} has no file that a backup could replace",
            hint="Restore a dump of the database with pg_restore, or import an export.",
        )

    def _parsed(self) -> PostgresUrl:
        from eskit.postgres.url import parse_url

        if find_spec("psycopg") is None:
            raise MissingPackage("PostgreSQL", "psycopg", extra="postgres")
        return parse_url(self.url, own=OPTIONS)

    @staticmethod
    def _days(url: PostgresUrl) -> float:
        text = url.options.get("command_ttl_days", str(_DAYS))
        try:
            days = float(text)
        except ValueError:
            days = -1.0
        if not 0 <= days <= _LARGEST_NUMBER:
            raise InvalidArgument(
                f"command_ttl_days={text} is not a number from 0 to {_LARGEST_NUMBER:,}",
                hint="For example command_ttl_days=5",
            )
        return days
