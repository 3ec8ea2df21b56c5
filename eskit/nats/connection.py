"""Opening connections to NATS: the one place that knows how to log in and stay connected."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
import ssl
from collections import UserString
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.client import Client

from eskit.errors import (
    BrokerUnavailable,
    EskitError,
    InvalidArgument,
    MessagingError,
    MissingPackage,
    RequestTimeout,
)
from eskit.nats.credentials import Provider, Static
from eskit.nats.headers import plain_headers
from eskit.nats.login import Jwt, Login, NKey, Tls, Token, UserPassword

Connection: TypeAlias = Client
"""A connection to NATS."""

_log = logging.getLogger("eskit.nats")
# nats-py tells whoever connects what goes wrong. Where nobody has set logging up it prints besides
# a traceback of its own for a flush that Ctrl-C has cancelled.
logging.getLogger("nats").addHandler(logging.NullHandler())
_SCHEMES = ("nats", "tls", "ws", "wss")
_CONNECT_TIMEOUT = 2
_FIRST_TRIES = 1
_RECONNECT_WAIT = 0.25
_FLUSH_WITHIN = 2
_CLOSE_WITHIN = 1.0
_REFUSALS = ("authorization", "authentication")


async def open_nats(
    url: str,
    *,
    name: str = "eskit",
    credentials: Provider | None = None,
    tls: Tls | None = None,
    connect_timeout: float = 5.0,
) -> Connection:
    """Connect, and from then on reconnect for ever.

    `url` is one or more server URLs, separated by commas; user, password or token may stand in
    it, percent-encoded. `credentials` take precedence, and are asked for again before every
    reconnect (but for a seed without JWT, which stands for the whole connection). The first
    connection is made within `connect_timeout` seconds or not at all: BrokerUnavailable. Close
    the connection with `close_nats`.
    """
    servers, in_url = _split(url)
    provider = credentials or (Static(in_url) if in_url is not None else None)
    shown = ", ".join(servers)
    client = _Client()
    failures: list[Exception] = []

    async def refresh() -> None:
        try:
            client.options.update(_login_options(provider.find() if provider else None))
        except EskitError as error:
            _log.warning("Reconnecting to NATS with the former credentials: %s", error)

    async def note_error(error: Exception) -> None:
        failures.append(error)
        del failures[:-1]
        _log.debug("NATS at %s: %s", shown, error)
        if not client.is_connected:
            _hang_up(client)
        await refresh()

    async def note_disconnect() -> None:
        _log.info("Disconnected from NATS at %s", shown)
        await refresh()

    async def note_reconnect() -> None:
        _log.info("Connected to NATS at %s again", shown)

    login = provider.find() if provider is not None else None
    # While connecting for the first time nats-py gives up after a few tries; later it never does.
    connecting = client.connect(
        servers,
        name=name,
        **_login_options(login),
        **_key_options(login, provider),
        tls=tls.context() if tls is not None else None,
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
        # Running out of servers or of time says nothing: then the last attempt knows why.
        says_nothing = isinstance(error, nats.errors.NoServersError | TimeoutError)
        reason = failures[-1] if failures and says_nothing else error
        await _close(client)
        raise _unavailable(shown, reason, over_tls=tls is not None) from error
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
    await _close(connection)


async def _close(connection: Connection) -> None:
    """Close, whatever state the connection is in.

    After a failed TLS handshake nats-py waits for ever for the end of a transport that it has
    replaced (seen with 2.16): hence the limit.
    """
    with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
        async with asyncio.timeout(_CLOSE_WITHIN):
            await connection.close()
    _hang_up(connection)


def _hang_up(connection: Connection) -> None:
    """Close the socket of an attempt that failed: nats-py leaves it open (seen with 2.16)."""
    if transport := getattr(connection, "_transport", None):
        transport.close()


@contextlib.asynccontextmanager
async def connected(
    url: str,
    *,
    name: str = "eskit",
    credentials: Provider | None = None,
    tls: Tls | None = None,
) -> AsyncIterator[Connection]:
    """A connection for the length of a ``with`` block."""
    connection = await open_nats(url, name=name, credentials=credentials, tls=tls)
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
            f"{doing}: no response", hint="Is JetStream enabled, or the service running?"
        ) from error
    except (nats.errors.TimeoutError, TimeoutError) as error:
        raise RequestTimeout(f"{doing}: no answer in time", hint="Try again.") from error
    except (nats.errors.Error, OSError) as error:
        raise BrokerUnavailable(
            f"{doing}: {error}", hint="Check that the NATS server runs and can be reached."
        ) from error


class _Client(Client):
    """nats-py's client, which reads headers such as eskit's in a third of the time.

    Where nats-py has no method of this name (2.15 and 2.16 have), it reads all as ever.
    """

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        # nats-py looks at each character of a name, which for an event takes longer than the rest.
        found = plain_headers(raw)
        return Client._parse_header_lines(raw) if found is None else found  # noqa: SLF001


class _CredsText(UserString):
    """The text of a ``.creds`` file, which nats-py reads again for every connection it makes."""

    def __init__(self, provider: Provider, first: Jwt) -> None:
        self._provider, self._last = provider, first

    @property
    def data(self) -> str:  # type: ignore[override]
        try:
            login = self._provider.find()
        except EskitError as error:
            _log.warning("Reconnecting to NATS with the former credentials: %s", error)
            login = None
        if isinstance(login, Jwt):
            self._last = login
        return self._last.creds


def _login_options(login: Login | None) -> dict[str, Any]:
    """Token or password as nats-py's options, which it looks at for every connection it makes."""
    match login:
        case Token(token):
            return {"token": token}
        case UserPassword(user, password):
            return {"user": user, "password": password}
    return {}


def _key_options(login: Login | None, provider: Provider | None) -> dict[str, Any]:
    """A key pair as nats-py's arguments. Raises MISSING_EXTRA without the package nkeys."""
    if not isinstance(login, NKey | Jwt) or provider is None:
        return {}
    if importlib.util.find_spec("nkeys") is None:
        raise MissingPackage("Logging in to NATS with a key pair", "nkeys", extra="nkeys")
    if isinstance(login, NKey):
        return {"nkeys_seed_str": login.seed}
    return {"user_credentials": _CredsText(provider, login)}


def _split(url: str) -> tuple[list[str], Login | None]:
    """The servers without credentials, and the login in the first URL that has one."""
    servers: list[str] = []
    login: Login | None = None
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
        if pieces.username is not None and login is None:
            user = unquote(pieces.username)
            password = pieces.password
            login = Token(user) if password is None else UserPassword(user, unquote(password))
        host = f"[{host}]" if ":" in host else host
        servers.append(f"{pieces.scheme}://{host}:{port}")
    return servers, login


def _unavailable(servers: str, error: BaseException, *, over_tls: bool) -> MessagingError:
    text = str(error) or type(error).__name__
    if any(word in text.lower() for word in _REFUSALS):
        return BrokerUnavailable(
            f"NATS at {servers} refused the credentials",
            code="BROKER_REFUSED",
            hint="Check the token, the user and password, or the key.",
        )
    hung_up = over_tls and isinstance(error, ConnectionResetError | BrokenPipeError)
    if hung_up or isinstance(error, ssl.SSLError):
        why = getattr(error, "reason", None) or "it ended the handshake"
        return BrokerUnavailable(
            f"NATS at {servers} does not agree on TLS: {why}",
            code="BROKER_REFUSED",
            hint="Check the authority, and whether the server demands a client certificate.",
        )
    reason = text
    if isinstance(error, ConnectionRefusedError):
        reason = "connection refused"
    elif isinstance(error, TimeoutError):
        reason = "no answer"
    elif isinstance(error, socket.gaierror):
        reason = "the host is not known"
    from eskit.nats.server import is_local

    first = "Start it (eskit nats start)" if is_local(servers) else "Check the address"
    return BrokerUnavailable(
        f"NATS at {servers} cannot be reached: {reason}",
        hint=f"{first}, or set nats to the URL of a running server.",
    )
