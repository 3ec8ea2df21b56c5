"""What lies in files that no schedule changes is read once, and not by every rebuild and run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eskit.projections import preparing, rebuild
from eskit.projections.migrations import Migration, load_migrations
from eskit.projections.projection import Projection
from eskit.projections.rebuild import code_fingerprint
from eskit.projections.records import Skip

_migrations: dict[Path | None, tuple[Migration, ...]] = {}
_fingerprints: dict[tuple[str, int], str] = {}


@contextmanager
def read_once() -> Iterator[None]:
    """Remember migrations, and the fingerprints of code, over all schedules of this process."""
    preparing.load_migrations, rebuild.code_fingerprint = _migrations_of, _fingerprint_of
    try:
        yield
    finally:
        preparing.load_migrations, rebuild.code_fingerprint = load_migrations, code_fingerprint


def _migrations_of(projection: Projection[Any]) -> tuple[Migration, ...]:
    folder = projection.migrations
    if folder not in _migrations:
        _migrations[folder] = load_migrations(projection)
    return _migrations[folder]


def _fingerprint_of(projection: Projection[Any], skips: Sequence[Skip] = ()) -> str:
    key = projection.name, projection.version
    if key not in _fingerprints:
        _fingerprints[key] = code_fingerprint(projection)
    return " ".join((_fingerprints[key], *(skip.event_id for skip in skips)))
