"""Logins come from where they should, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from eskit.errors import InvalidArgument, MessagingError
from eskit.nats.credentials import Chain, Environment, File, Static
from eskit.nats.login import Jwt, Login, NKey, Tls, Token, UserPassword
from tests.support.coded import coded

CREDS = "-----BEGIN NATS USER JWT-----\nhidden\n-----BEGIN USER NKEY SEED-----\nhidden\n"


@pytest.mark.parametrize(
    "login", [Token("hidden"), UserPassword("alice", "hidden"), NKey("hidden"), Jwt(CREDS)]
)
def test_secrets_are_not_shown(login: Login) -> None:
    """Every kind of secret is redacted, in whatever holds it."""
    for text in (repr(login), str(login), f"{login}", repr(Static(login)), repr([login])):
        assert "hidden" not in text


@pytest.mark.parametrize(
    ("variables", "login"),
    [
        ({}, None),
        ({"NATS_TOKEN": "t"}, Token("t")),
        ({"NATS_USER": "u", "NATS_PASSWORD": "p"}, UserPassword("u", "p")),
        ({"NATS_NKEY_SEED": "SU1"}, NKey("SU1")),
        ({"OTHER_TOKEN": "t"}, None),
    ],
)
def test_the_environment_is_what_it_is_given(
    variables: dict[str, str], login: Login | None
) -> None:
    assert Environment(variables).find() == login


@pytest.mark.parametrize(
    ("text", "login"),
    [
        ('{"token": "t"}', Token("t")),
        ('{"user": "u", "password": "p"}', UserPassword("u", "p")),
        ('{"nkey_seed": "SU1"}', NKey("SU1")),
        (CREDS, Jwt(CREDS)),
    ],
)
def test_a_file_is_read_anew_every_time(tmp_path: Path, text: str, login: Login) -> None:
    """A secret that is kept can be read back, as it is now."""
    path = tmp_path / "login"
    provider = File(path)

    assert provider.find() is None
    path.write_text(text)
    assert provider.find() == login


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 5}', '{"passwort": "hidden"}', "---"])
def test_a_file_without_a_login_is_an_error_that_does_not_quote_it(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "login").write_text(text)

    with pytest.raises(
        MessagingError, check=coded("CREDENTIALS_UNAVAILABLE"), match="holds no NATS credentials"
    ) as caught:
        File(tmp_path / "login").find()

    assert "hidden" not in f"{caught.value} {caught.value.hint}"


def test_a_chain_takes_the_first_login_there_is(tmp_path: Path) -> None:
    """Every provider in the chain works without being prepared."""
    chain = Chain(Environment({}), File(tmp_path / "none"), Static(Token("t")))

    assert chain.find() == Token("t")
    assert Chain(Environment({})).find() is None


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="belong together"):
        Tls(cert=tmp_path / "cert.pem").context()
    with pytest.raises(InvalidArgument, match=r"none\.pem"):
        Tls(ca=tmp_path / "none.pem").context()
