"""PostgreSQL's errors to eskit's, by their SQLSTATE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from eskit.errors import StoreDamaged, StoreError, StoreUnavailable

ROLES_HINT = "Run as a role that may; see which ones may do what: eskit store roles"
_HINTS: Mapping[str, tuple[str, str]] = {
    "25006": (
        "is read-only",
        "Name the primary: a standby and a read-only transaction accept no events.",
    ),
    "28P01": ("refused the password", "Check user and password in the URL, PGPASSWORD or .pgpass."),
    "28000": ("refused the login", "Check user, pg_hba.conf and sslmode."),
    "3D000": ("does not exist", "Create the database: createdb NAME"),
    "53100": ("cannot grow: the disk is full", "Free some space on the server and try again."),
    "53200": ("ran out of memory", "Free some memory on the server and try again."),
    "53300": (
        "has too many connections",
        "Raise max_connections, or put a connection pooler in front of the server.",
    ),
    "55P03": ("is locked by another session", "Try again when it has finished."),
    "57014": ("cancelled the statement", "Raise statement_timeout, or try again."),
    "57P01": ("is shutting down", "Try again when it is up."),
    "57P02": ("was ended by a crash", "Try again when it is up."),
    "57P03": ("is starting or shutting down", "Try again when it is up."),
    "57P05": ("ended a session that had been silent for too long", "Try again."),
    "25P03": ("ended a transaction that had been silent for too long", "Try again."),
    "40001": ("cancelled a transaction that conflicted with others", "Try again."),
    "40P01": ("ended a deadlock", "Try again."),
    "42P05": (
        "is behind a pooler that does not know prepared statements",
        "Use pgbouncer 1.21 or newer, or name the server itself.",
    ),
    "26000": (
        "is behind a pooler that does not know prepared statements",
        "Use pgbouncer 1.21 or newer, or name the server itself.",
    ),
}
_UNTRUSTED = (
    "cannot be trusted",
    "Check sslmode and sslrootcert, and that the certificate is for the host in the URL.",
)
_REFUSALS: Mapping[str, tuple[str, str]] = {
    "too many clients already": _HINTS["53300"],
    "too many connections": _HINTS["53300"],
    "connection slots are reserved": _HINTS["53300"],
    "password authentication failed": _HINTS["28P01"],
    "no password supplied": _HINTS["28P01"],
    "no pg_hba.conf entry": _HINTS["28000"],
    "is starting up": _HINTS["57P03"],
    "is shutting down": _HINTS["57P03"],
    "certificate verify failed": _UNTRUSTED,
    "does not match host name": _UNTRUSTED,
    "root certificate file": _UNTRUSTED,
    "server does not support SSL": _UNTRUSTED,
}
"""What a refused connection says, which has no SQLSTATE; a server may say it in its language."""
_FULL = ("File too large", "Disk quota exceeded", "No space left on device")
_DAMAGED = ("XX001", "XX002")
_ANOTHER_SCHEMA = ("3F000", "42P01", "42703", "42883")


def is_lost(error: BaseException, connection: psycopg.Connection[object] | None) -> bool:
    """Whether the connection went, so that nobody knows what became of its transaction.

    A lost connection has no SQLSTATE: the error's class and the connection decide.
    """
    if not isinstance(error, psycopg.Error):
        return False
    return connection is None or connection.broken or connection.closed


def store_error(error: psycopg.Error, url: str) -> StoreError:
    """The eskit error for what PostgreSQL reported about the store at `url`, without secrets."""
    code = error.sqlstate
    message = _first_line(error)
    if code in _DAMAGED:
        return StoreDamaged(f"{url} is damaged: {message}", hint="Restore it from a backup.")
    if code in _ANOTHER_SCHEMA:
        return StoreDamaged(
            f"{url} has no eskit store in its schema: {message}",
            code="STORE_NOT_RECOGNISED",
            hint="Check the schema in the URL, ?schema=NAME",
        )
    if code == "42501":
        return StoreUnavailable(f"{url} does not let its user do that: {message}", hint=ROLES_HINT)
    if code is None:
        for text, (what, hint) in _REFUSALS.items():
            if text in message:
                return StoreUnavailable(f"{url} {what}: {message}", hint=hint)
        return StoreUnavailable(
            f"{url} cannot be reached: {message}", hint="Check that the server is up, and the URL."
        )
    if code in {"XX000", "58030"} and any(text in message for text in _FULL):
        code = "53100"  # a limit of the server's user or of its files
    what, hint = _HINTS.get(code, (f"cannot be used: {message} ({code})", ""))
    return StoreUnavailable(f"{url} {what}", hint=hint)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Raise PostgreSQL's errors as eskit's."""
    try:
        yield
    except psycopg.Error as error:
        raise store_error(error, url) from error


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]
