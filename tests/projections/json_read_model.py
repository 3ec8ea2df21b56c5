"""A third read model, as small as it can be: one JSON file, to show what an adapter has to write.

`db` are plain dicts. A migration is a line: ``create TABLE``, ``set TABLE AMOUNT`` or ``add TABLE
COLUMN``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from eskit.errors import MigrationInvalid, ReadModelUnavailable
from eskit.files.lock import FileLock, LockFile, take_file_lock
from eskit.projections.differences import RowDifference, TableDifference
from eskit.projections.migrations import Migration
from eskit.projections.port import Activity, Purpose
from eskit.projections.records import Kind, Record


class Tables:
    """What handlers are given: rows by table and name; `find` gives those of oneself and others."""

    def __init__(self, find: Callable[[], tuple[Any, Any]]) -> None:
        self._find = find

    def insert(self, table: str, name: str, amount: int) -> None:
        """Write a row into a table of one's own."""
        self._find()[0][table]["rows"][name] = amount

    def rows(self, table: str) -> list[tuple[str, int]]:
        """The rows by amount, also of what others keep."""
        own, others = self._find()
        return sorted((own.get(table) or others[table])["rows"].items(), key=lambda row: row[1])

    def columns(self, table: str) -> list[str]:
        """The names of the columns."""
        return list(self._find()[0][table]["columns"])


class JsonReadModel:
    """A file that is written as a whole at the end of each transaction."""

    def __init__(self, path: Path, *, live: Path | None = None) -> None:
        self.path = path
        self._live = live
        self._lock = FileLock(Path(f"{path}.lock"))
        self._depth = 0
        self._document = _read(path)
        self.db = Tables(self._find_tables)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Lock the file and read it; write it at the end, or bring back what was there."""
        if not self._depth:
            take_file_lock(self._lock, mode=0o600, patience=30, unavailable=ReadModelUnavailable)
            self._document = _read(self.path)
        before = deepcopy(self._document)
        self._depth += 1
        try:
            yield
            if self._depth == 1:
                _write(self.path, self._document)
        except BaseException:
            self._document = before
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._lock.release()

    def flush(self) -> None:
        """Nothing is put off."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether the disk is to blame."""
        return isinstance(error, OSError)

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """The records in the file."""
        document = self._document if self._depth else _read(self.path)
        return _find(document, kind, name, key)

    def save(self, record: Record) -> None:
        """Replace the record with the same key."""
        self.delete(record.kind, record.projection, record.key)
        self._document["records"].append([record.kind, record.projection, record.key, record.value])

    def delete(self, kind: Kind, name: str, key: str) -> None:
        """Leave a record out."""
        kept = [found for found in self._document["records"] if found[:3] != [kind, name, key]]
        self._document["records"] = kept

    def migrate(self, name: str, migrations: Sequence[Migration]) -> None:
        """Run the lines."""
        for migration in migrations:
            for line in migration.sql.splitlines():
                if line.strip() and not line.startswith("--"):
                    self._run(name, *line.split())

    def drop(self, name: str) -> None:
        """Leave out the tables."""
        tables = self._document["tables"]
        for table in [one for one, found in tables.items() if found["owner"] == name]:
            del tables[table]

    def rename(self, old: str, new: str) -> None:
        """Write the other name everywhere."""
        for table in self._document["tables"].values():
            table["owner"] = new if table["owner"] == old else table["owner"]
        for record in self._document["records"]:
            record[1] = new if record[1] == old else record[1]

    def close(self) -> None:
        """Close the lock."""
        self._lock.close()

    def open_shadow(self, name: str, purpose: Purpose) -> JsonShadow:
        """Another file beside."""
        return JsonShadow(_shadow(self.path, name, purpose), live=self.path)

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Remove that."""
        _shadow(self.path, name, purpose).unlink(missing_ok=True)

    @contextmanager
    def swapping(self, name: str) -> Iterator[None]:
        """Take the tables of the other file."""
        built = _read(_shadow(self.path, name, "rebuild"))["tables"]
        with self.transaction():
            tables = self._document["tables"]
            for table in built:
                if table in tables and tables[table]["owner"] != name:
                    raise MigrationInvalid(f"{table} belongs to {tables[table]['owner']}")
            self.drop(name)
            tables.update(built)
            yield

    def _find_tables(self) -> tuple[Any, Any]:
        document = self._document if self._depth else _read(self.path)
        return document["tables"], _read(self._live)["tables"] if self._live else {}

    def _run(self, name: str, word: str, table: str, value: str = "") -> None:
        tables = self._document["tables"]
        if word == "create":
            tables[table] = {"owner": name, "columns": ["name", "amount"], "rows": {}}
        elif word == "set" and table in tables:
            tables[table]["rows"] = dict.fromkeys(tables[table]["rows"], int(value))
        elif word == "add" and table in tables:
            tables[table]["columns"].append(value)
        else:
            raise MigrationInvalid(f"{word} {table} does not run")


class JsonShadow(JsonReadModel):
    """Shadow rows, in a file of their own."""

    @property
    def live(self) -> JsonReadModel:
        """The live file: a record is found in it by the same method."""
        return JsonReadModel(self._live or self.path)

    def compare(self, name: str, *, examples: int, in_order: bool) -> list[TableDifference]:
        """Row by row."""
        live = _read(self._live or self.path)["tables"]
        found = []
        for table, built in self._document["tables"].items():
            mine, theirs = built["rows"], live.get(table, {"rows": {}})["rows"]
            differing = [
                RowDifference(live=_row(theirs, key), rebuilt=_row(mine, key))
                for key in [*mine, *(key for key in theirs if key not in mine)]
                if mine.get(key) != theirs.get(key)
            ]
            found.append(
                TableDifference(
                    table=table,
                    live_rows=len(theirs),
                    rebuilt_rows=len(mine),
                    differing=len(differing),
                    examples=tuple(differing[:examples]),
                )
            )
        return found


class JsonReadModels:
    """The read models in one JSON file, with its locks beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, *, stop: threading.Event | None = None) -> JsonReadModel:
        """The file, made if missing."""
        model = JsonReadModel(self._path)
        with model.transaction():
            pass
        return model

    @contextmanager
    def reader(self) -> Iterator[Tables]:
        """What the file holds now."""
        if not self._path.exists():
            raise ReadModelUnavailable(f"No read model {self._path} yet")
        seen = _read(self._path)["tables"]
        yield Tables(lambda: (seen, {}))

    def records(
        self, kind: Kind, name: str | None = None, key: str | None = None, *, shadow: bool = False
    ) -> list[Record]:
        """The records that the file holds now."""
        path = _shadow(self._path, name or "", "rebuild") if shadow else self._path
        return _find(_read(path), kind, name, key)

    def lock(self, name: str, activity: Activity) -> LockFile:
        """A lock file beside."""
        path = Path(f"{self._path}-locks") / f"{name}.{activity}"
        return LockFile(path, unavailable=ReadModelUnavailable)

    def close(self) -> None:
        """There is nothing to let go of."""


def _shadow(path: Path, name: str, purpose: Purpose) -> Path:
    return Path(f"{path}-{purpose}-{name}")


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {"tables": {}, "records": []}


def _write(path: Path, document: Any) -> None:
    written = Path(f"{path}.new")
    written.write_text(json.dumps(document))
    written.replace(path)


def _find(document: Any, kind: Kind, name: str | None, key: str | None) -> list[Record]:
    found = [Record(*one) for one in sorted(document["records"])]
    return [
        record
        for record in found
        if record.kind == kind and name in {None, record.projection} and key in {None, record.key}
    ]


def _row(rows: dict[str, int], name: str) -> dict[str, Any] | None:
    return {"name": name, "amount": rows[name]} if name in rows else None
