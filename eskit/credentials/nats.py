"""Opening connections to NATS: the one place that knows how to log in and stay connected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.client import Client

from eskit.errors import BrokerUnavailable, InvalidArgument, MessagingError, RequestTimeout

Connection: TypeAlias = Client
"""A connection to NATS."""

_log = logging.getLogger("eskit.nats")
_SCHEMES = ("nats", "tls", "ws", "wss")
_CONNECT_TIMEOUT = 2
_FIRST_TRIES = 1
_RECONNECT_WAIT = 0.25
_FLUSH_WITHIN = 2
_REFUSALS = ("authorization", "authentication")


async def open_nats(url: str, *, name: str = "eskit", connect_timeout: float = 5.0) -> Connection:
    """Connect, and from then on reconnect for ever.

    `url` is one or more server URLs, separated by commas; user, password or token may stand in
    it, percent-encoded. The first connection is made within `connect_timeout` seconds or not at
    all: BrokerUnavailable. Close the connection with `close_nats`.
    """
    servers, user, password = _split(url)
    shown = ", ".join(servers)
    failures: list[Exception] = []

    async def note_error(error: Exception) -> None:
        failures[:] = [error]
        _log.debug("NATS at %s: %s", shown, error)

    async def note_disconnect() -> None:
        _log.info("Disconnected from NATS at %s", shown)

    async def note_reconnect() -> None:
        _log.info("Connected to NATS at %s again", shown)

    client = Client()
    # While connecting for the first time nats-py gives up after a few tries; later it never does.
    connecting = client.connect(
        servers,
        name=name,
        user=user if password is not None else None,
        password=password,
        token=user if password is None else None,
        allow_reconnect=False,
        max_reconnect_attempts=_FIRST_TRIES,
        connect_timeout=_CONNECT_TIMEOUT,
        reconnect_time_wait=0,
        error_cb=note_error,
        disconnected_cb=note_disconnect,
        reconnected_cb=note_reconnect,
    )
    try:
        await asyncio.wait_for(connecting, connect_timeout)
    except (OSError, nats.errors.Error, TimeoutError) as error:
        with contextlib.suppress(Exception):
            await client.close()
        raise _unavailable(shown, failures[0] if failures else error) from error
    client.options["allow_reconnect"] = True
    client.options["max_reconnect_attempts"] = -1
    client.options["reconnect_time_wait"] = _RECONNECT_WAIT
    return client


async def close_nats(connection: Connection) -> None:
    """Send what is still buffered, within two seconds, and close; idempotent."""
    if connection.is_closed:
        return
    if connection.is_connected:
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            await connection.flush(timeout=_FLUSH_WITHIN)
    await connection.close()


@contextlib.asynccontextmanager
async def connected(url: str, *, name: str = "eskit") -> AsyncIterator[Connection]:
    """A connection for the length of a ``with`` block."""
    connection = await open_nats(url, name=name)
    try:
        yield connection
    finally:
        await close_nats(connection)


@contextlib.contextmanager
def broker_errors(doing: str) -> Iterator[None]:
    """Turn errors of nats-py into eskit's: RequestTimeout or BrokerUnavailable."""
    try:
        yield
    except nats.errors.MaxPayloadError as error:
        raise InvalidArgument(
            f"{doing}: the message is larger than the NATS server takes",
            hint="Send less, or raise max_payload in the server's configuration.",
        ) from error
    except nats.errors.NoRespondersError as error:
        raise BrokerUnavailable(
            f"{doing}: nobody answers", hint="Is JetStream enabled, or the service running?"
        ) from error
    except (nats.errors.TimeoutError, TimeoutError) as error:
        raise RequestTimeout(f"{doing}: no answer in time", hint="Try again.") from error
    except (nats.errors.Error, OSError) as error:
        raise BrokerUnavailable(
            f"{doing}: {error}", hint="Check that the NATS server runs and can be reached."
        ) from error


def _split(url: str) -> tuple[list[str], str | None, str | None]:
    """The servers without credentials, and the user (or token) and password in the first URL."""
    servers: list[str] = []
    user: str | None = None
    password: str | None = None
    for part in url.split(","):
        text = part.strip() if "://" in part else f"nats://{part.strip()}"
        try:
            pieces = urlsplit(text)
            host, port = pieces.hostname, pieces.port or 4222
        except ValueError:
            host, port, pieces = None, 0, urlsplit("")
        if not host or pieces.scheme not in _SCHEMES:
            raise InvalidArgument(
                "The NATS URL names no server" if "@" in url else f"{url!r} is not a NATS URL",
                hint="Write nats://HOST:PORT; special characters in a password percent-encoded.",
            )
        if pieces.username is not None and user is None:
            user = unquote(pieces.username)
            password = unquote(pieces.password) if pieces.password is not None else None
        host = f"[{host}]" if ":" in host else host
        servers.append(f"{pieces.scheme}://{host}:{port}")
    return servers, user, password


def _unavailable(servers: str, error: BaseException) -> MessagingError:
    text = str(error) or type(error).__name__
    if any(word in text.lower() for word in _REFUSALS):
        return BrokerUnavailable(
            f"NATS at {servers} refused the credentials",
            hint="Check the token, or user and password, in the NATS URL.",
        )
    reason = "no answer" if isinstance(error, TimeoutError) else text
    return BrokerUnavailable(
        f"NATS at {servers} cannot be reached: {reason}",
        hint="Start it (eskit nats start), or set nats to the URL of a running server.",
    )
