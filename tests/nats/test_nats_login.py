"""Logging in to a real nats-server in every way it knows, and being refused clearly."""

# ruff: noqa: S105, S106 - secrets of servers that live for a second

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from nats.errors import NoRespondersError

from eskit.errors import BrokerUnavailable, InvalidArgument
from eskit.nats.connection import connected
from eskit.nats.credentials import Provider, Static
from eskit.nats.login import Jwt, NKey, Tls, Token, UserPassword
from eskit.nats.server import EmbeddedNats, ServerTls
from tests.support.certificates import make_authority, make_certificate, needs_openssl


def address(server: EmbeddedNats, scheme: str = "nats") -> str:
    return f"{scheme}://localhost:{urlsplit(server.address).port}"


async def can_log_in(url: str, provider: Provider | None, **options: Any) -> bool:
    """Whether a connection can be opened and used; if not, the credentials must be why."""
    try:
        async with connected(url, credentials=provider, **options) as connection:
            await connection.flush()
    except BrokerUnavailable as error:
        if "refused the credentials" not in error.message:
            raise
        return False
    return True


async def test_a_token_lets_in_and_another_does_not(caplog: pytest.LogCaptureFixture) -> None:
    """A server that demands a login gets the right one, and refuses a wrong one."""
    caplog.set_level(logging.DEBUG)

    with EmbeddedNats(token="right/secret") as server:
        assert await can_log_in(server.url, None)
        assert await can_log_in(address(server), Static(Token("right/secret")))
        assert not await can_log_in(address(server), Static(Token("wrong secret")))
        assert not await can_log_in(address(server), None)

    assert "secret" not in caplog.text


async def test_user_and_password_let_in_and_others_do_not() -> None:
    with EmbeddedNats(user="alice", password="p@ss:word") as server:
        assert await can_log_in(server.url, None)
        assert await can_log_in(address(server), Static(UserPassword("alice", "p@ss:word")))
        assert not await can_log_in(address(server), Static(UserPassword("alice", "password")))
        assert not await can_log_in(server.url.replace("word", "sword"), None)


async def test_credentials_take_precedence_over_those_in_the_url() -> None:
    with EmbeddedNats(token="right") as server:
        assert not await can_log_in(server.url, Static(Token("wrong")))


async def test_a_key_pair_lets_in_and_another_does_not() -> None:
    make = nkey_maker()
    seed, public = make("USER")
    users = {"authorization": {"users": [{"nkey": public}]}}

    with EmbeddedNats(extra_config=users) as server:
        assert await can_log_in(server.url, Static(NKey(seed)))
        assert not await can_log_in(server.url, Static(NKey(make("USER")[0])))


async def test_a_jwt_lets_in_and_one_of_another_account_does_not() -> None:
    make = nkey_maker()
    operator, system, account, stranger = map(make, ["OPERATOR", *["ACCOUNT"] * 3])
    limits = {"limits": {"subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1}}
    limits["limits"] |= {"imports": -1, "exports": -1, "wildcards": True}
    config = {
        "operator": sign(operator, operator[1], "operator", {}),
        "resolver": "MEMORY",
        "system_account": system[1],
        "resolver_preload": {
            public: sign(operator, public, "account", limits) for public in (system[1], account[1])
        },
    }

    def creds(issuer: tuple[str, str]) -> Jwt:
        seed, public = make("USER")
        jwt = sign(issuer, public, "user", {"subs": -1, "data": -1, "payload": -1})
        return Jwt(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )

    with EmbeddedNats(extra_config=config) as server:
        assert await can_log_in(server.url, Static(creds(account)))
        assert not await can_log_in(server.url, Static(creds(stranger)))


async def test_a_rotated_secret_is_used_for_the_next_connection(tmp_path: Path) -> None:
    """Credentials are asked for again on every reconnect."""

    class Rotating:
        token = "first"

        def find(self) -> Token:
            return Token(self.token)

    provider = Rotating()
    server = EmbeddedNats(tmp_path / "nats", token="first").start()
    port = urlsplit(server.address).port or 0

    async with connected(server.address, credentials=provider) as connection:
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        assert not connection.is_connected
        provider.token = "second"
        with EmbeddedNats(tmp_path / "nats", token="second", port=port):
            async with asyncio.timeout(20):
                while not connection.is_connected:  # noqa: ASYNC110 - by a task of nats-py
                    await asyncio.sleep(0.05)
            with pytest.raises(NoRespondersError):  # the server answers, and nobody else
                await connection.request("nobody.here", timeout=10)


@needs_openssl
async def test_tls_protects_and_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    ca, (cert, key) = make_authority(tmp_path / "a"), make_certificate(tmp_path / "a", "localhost")
    other = make_authority(tmp_path / "b")

    with EmbeddedNats(tls=ServerTls(cert=cert, key=key)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert await can_log_in(url, None, tls=Tls(ca=ca))
        with pytest.raises(BrokerUnavailable, match="does not agree on TLS"):
            async with connected(url, tls=Tls(ca=other)):
                pass


@needs_openssl
async def test_mutual_tls_lets_in_whom_the_authority_has_certified(tmp_path: Path) -> None:
    """TLS on both sides."""
    ca, (cert, key) = make_authority(tmp_path / "a"), make_certificate(tmp_path / "a", "localhost")
    client_cert, client_key = make_certificate(tmp_path / "a", "client")

    with EmbeddedNats(tls=ServerTls(cert=cert, key=key, ca=ca)) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        assert await can_log_in(url, None, tls=Tls(ca=ca, cert=client_cert, key=client_key))
        with pytest.raises(BrokerUnavailable, match="does not agree on TLS"):
            async with connected(url, tls=Tls(ca=ca)):
                pass


@pytest.mark.parametrize("url", ["http://x", "nats://", "nats://:pass@", "nats://host:port", ""])
async def test_what_is_no_nats_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        async with connected(url):
            pass

    assert "pass" not in caught.value.message


def nkey_maker() -> Callable[[str], tuple[str, str]]:
    """Makes key pairs of a kind: seed and public key."""
    nkeys = pytest.importorskip("nkeys")

    def make(kind: str) -> tuple[str, str]:
        seed = nkeys.encode_seed(os.urandom(32), getattr(nkeys, f"PREFIX_BYTE_{kind}"))
        pair = nkeys.from_seed(bytearray(seed))
        return seed.decode(), pair.public_key.decode()

    return make


def sign(issuer: tuple[str, str], subject: str, kind: str, claims: dict[str, Any]) -> str:
    """A NATS JWT, version 2."""
    nkeys = pytest.importorskip("nkeys")
    body = {
        "jti": os.urandom(8).hex(),
        "iat": int(time.time()),
        "iss": issuer[1],
        "sub": subject,
        "name": kind,
        "nats": {"type": kind, "version": 2, **claims},
    }
    text = f"{_b64({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_b64(body)}"
    signature = nkeys.from_seed(bytearray(issuer[0].encode())).sign(text.encode())
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _b64(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
